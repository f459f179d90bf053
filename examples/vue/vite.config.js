import vue from "@vitejs/plugin-vue";

export default {
  plugins: [vue()],
  server: {
    host: "localhost",
    port: 8082,
    // npm links the package, which lies outside of this folder.
    fs: { allow: ["../.."] },
  },
};
