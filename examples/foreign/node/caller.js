// A caller, with amqplib: `leveret conformance caller -- node caller.js` judges it.
const crypto = require("crypto");
const readline = require("readline");
const amqp = require("amqplib");

const PROBLEM = "application/problem+json";
const CODES = new Set(["canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
  "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal",
  "unavailable", "data_loss", "unauthenticated"]);
const calls = new Map(); // those that wait, by correlation id: what ends them

class Failure extends Error {
  constructor(code, reason = "") {
    super(code);
    Object.assign(this, { code, reason });
  }
}

let channel; // a promise

function connected() {
  channel ??= connect().catch((error) => {
    channel = undefined;
    throw new Failure("unavailable", error.code);
  });
  return channel;
}

async function connect() {
  const connection = await amqp.connect(process.env.AMQP_URL);
  connection.on("error", () => {}).on("close", lost);
  const opened = await connection.createChannel();
  opened.on("error", () => connection.close().catch(() => {}));
  opened.on("return", ({ properties }) => end(properties.correlationId, new Failure("unavailable", "unroutable")));
  await opened.consume("amq.rabbitmq.reply-to", (message) => message && end(message.properties.correlationId, message), { noAck: true });
  return opened;
}

function lost() { // the answers are as well; the requests may have been handled
  channel = undefined;
  for (const id of calls.keys()) end(id, new Failure("unavailable", "outcome_unknown"));
}

function end(id, answer) {
  const ended = calls.get(id); // undefined of a call that was given up
  calls.delete(id);
  ended?.(answer);
}

// call returns the text of the reply: JSON.parse would change integers beyond 2^53.
async function call(key, payload, timeout) {
  const to = await connected();
  const id = crypto.randomUUID();
  const answered = new Promise((ended) => calls.set(id, ended));
  const timer = setTimeout(() => end(id, new Failure("deadline_exceeded", "outcome_unknown")), timeout);
  try {
    to.publish("requests", key, Buffer.from(JSON.stringify(payload)), {
      contentType: "application/json", correlationId: id, replyTo: "amq.rabbitmq.reply-to", mandatory: true,
      expiration: Math.max(1, Math.floor(timeout * 0.75)), deliveryMode: 1 });
  } catch {
    end(id, new Failure("unavailable"));
  }
  const answer = await answered;
  clearTimeout(timer);
  if (answer instanceof Failure) throw answer;
  if (answer.properties.contentType === PROBLEM) throw problem(answer.content);
  return decode(answer.content);
}

function problem(content) {
  let got;
  try {
    got = JSON.parse(content.toString());
  } catch {}
  return new Failure(CODES.has(got?.code) ? got.code : "unknown", typeof got?.reason === "string" ? got.reason : "");
}

function decode(content) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(content); // it skips a byte order mark
    JSON.parse(text);
    return text;
  } catch {
    throw new Failure("data_loss");
  }
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { call: payload, timeout_ms: timeout } = JSON.parse(line);
  const id = JSON.stringify(payload.id);
  try {
    const reply = await call("conformance.ask", payload, timeout);
    console.log(`{"id": ${id}, "reply": ${reply.replace(/[\r\n]/g, " ")}}`);
  } catch ({ code, reason }) {
    console.log(`{"id": ${id}, "error": ${JSON.stringify({ code, reason })}}`);
  }
});
