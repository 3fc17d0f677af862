/**
 * A chat that knows its user, with OpenAI's own client: only the base URL and `user` are new.
 *
 *     personaagent serve --lm openai/gpt-4o-mini
 *     npm install
 *     npm run --silent chat -- amira "How do I get to Bern?" "Something faster?"
 *
 * The texts are the user's messages, one after another. The address is in PERSONAAGENT_URL, by
 * default this machine's; the key, where the server has keys, in PERSONAAGENT_KEY.
 */
import OpenAI from "openai";

const [user, ...texts] = process.argv.slice(2);
const client = new OpenAI({
  baseURL: process.env.PERSONAAGENT_URL ?? "http://localhost:8000/v1",
  apiKey: process.env.PERSONAAGENT_KEY ?? "no-key-needed",
});

const messages: OpenAI.ChatCompletionMessageParam[] = [];
for (const content of texts) {
  messages.push({ role: "user", content });
  // The server answers with the LM that it was given, whatever model is named here.
  const stream = await client.chat.completions.create({ model: "any", messages, user, stream: true });
  let answer = "";
  for await (const chunk of stream) {
    const piece = chunk.choices[0]?.delta.content ?? "";
    answer += piece;
    process.stdout.write(piece);
  }
  process.stdout.write("\n");
  messages.push({ role: "assistant", content: answer });
}
