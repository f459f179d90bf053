export default {
  server: {
    host: "localhost",
    port: 8082,
    // npm links the package, which lies outside of this folder.
    fs: { allow: ["../.."] },
  },
};
