// A worker that answers a request, with amqplib: `leveret conformance answerer -- node answerer.js` judges it.
const os = require("os");
const amqp = require("amqplib");

const QUEUE = "conformance.ask";
const INSTANCE = `${os.hostname()}/${process.pid}`;
const PROBLEM = "application/problem+json";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Failure extends Error {
  constructor(code, reason, detail) {
    super(detail);
    Object.assign(this, { code, reason });
  }
}

async function work(payload) {
  if (payload.do === "fail") throw new Failure("failed_precondition", "", "it cannot be done");
  if (payload.do === "fail_temporarily") throw new Failure("unavailable", "", "not now");
  if (payload.do === "wait") await sleep(payload.ms);
  console.log(JSON.stringify({ did: payload.id }));
  return payload;
}

function decode(body) {
  let payload;
  try {
    payload = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)); // it skips a byte order mark
  } catch (error) {
    throw new Failure("invalid_argument", "", `not JSON: ${error.message}`);
  }
  if (typeof payload?.do !== "string") throw new Failure("invalid_argument", "", "not the payload of this request");
  return payload;
}

function expired(headers) {
  const deadline = headers["leveret-deadline"];
  const at = typeof deadline === "string" ? Date.parse(deadline) : deadline?.["!"] === "timestamp" ? deadline.value * 1000 : NaN;
  return Date.now() > at + 2000; // false if there is none
}

const isCaller = (address) => /^(amq\.rabbitmq\.reply-to\.|amq\.gen-|reply\.)/.test(address);
const isReply = ({ headers = {}, contentType }) => "leveret-instance" in headers || contentType === PROBLEM;

async function onRequest(channel, { fields, properties, content }) {
  const { headers = {}, replyTo, correlationId, messageId } = properties;
  if (isReply(properties) || (replyTo && !isCaller(replyTo))) return;
  let answer, contentType;
  try {
    if (expired(headers)) throw new Failure("deadline_exceeded", "", "the caller has gone");
    if (fields.redelivered) throw new Failure("aborted", "outcome_unknown", "it may have been handled");
    answer = await work(decode(content));
    contentType = "application/json";
  } catch (error) {
    answer = { code: error.code ?? "internal", reason: error.reason, detail: error.message };
    contentType = PROBLEM;
  }
  if (!replyTo) return;
  channel.publish("", replyTo, Buffer.from(JSON.stringify(answer)), {
    contentType, correlationId: correlationId ?? messageId, headers: { "leveret-instance": INSTANCE } });
}

async function serve() {
  const connection = await amqp.connect(process.env.AMQP_URL);
  const lost = new Promise((_, failed) => connection.on("error", failed).on("close", () => failed(new Error("closed"))));
  lost.catch(() => {}); // it is awaited below
  const channel = await connection.createChannel();
  channel.on("error", () => connection.close().catch(() => {}));
  await channel.prefetch(10);
  await channel.consume(QUEUE, async (message) => {
    if (message === null) return connection.close();
    await onRequest(channel, message);
    channel.ack(message);
  });
  await lost;
}

(async () => {
  for (;;) {
    await serve().catch((error) => console.error("starting again:", error.message));
    await sleep(500);
  }
})();
process.on("unhandledRejection", (error) => console.error("not answered:", error.message)); // the connection is lost
