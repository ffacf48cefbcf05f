// Answers every request. What is done at the top of the module is done once, when the component is built.

import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.12";

const greeting = new TextEncoder().encode("Hello from JavaScript on Skiff!\n");
const contentType = new TextEncoder().encode("text/plain; charset=utf-8");

export const incomingHandler = {
  handle(request, responseOut) {
    const response = new OutgoingResponse(Fields.fromList([["content-type", contentType]]));
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: "ok", val: response });
    const stream = body.write();
    stream.blockingWriteAndFlush(greeting);
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
