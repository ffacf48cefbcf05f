// The answer of the `hello` example, from workerd.
export default {
  fetch() {
    return new Response("Hello from Skiff!\n");
  },
};
