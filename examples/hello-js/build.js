// Makes target/hello-js.wasm with componentize-js.

import { componentize } from "@bytecodealliance/componentize-js";
import { mkdir, writeFile } from "node:fs/promises";

const { component } = await componentize({
  sourcePath: "app.js",
  witPath: "wit",
  worldName: "hello",
  // The handler is exported as it is in WIT, and sends no requests: neither `fetch` nor its event is needed.
  disableFeatures: ["fetch-event", "http"],
});
await mkdir("target", { recursive: true });
await writeFile("target/hello-js.wasm", component);
