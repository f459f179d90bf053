import react from "@vitejs/plugin-react";

export default {
  plugins: [react()],
  server: {
    host: "localhost",
    port: 8082,
    // npm links the package, which lies outside of this folder.
    fs: { allow: ["../.."] },
  },
};
