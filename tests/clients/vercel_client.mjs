// The Vercel AI SDK as a client of the gateway. Reads one task a line as JSON, answers one line each.

import { createInterface } from 'node:readline';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const [url, apiKey, dialect] = process.argv.slice(2);
const QUESTION = 'When is low tide?';
const Tide = z.object({ port: z.string(), hour: z.number() });

const made = { baseURL: `${url}/v1`, apiKey };
const provider = dialect === 'anthropic' ? createAnthropic(made) : createOpenAI(made).chat;
const settings = (model) => ({ model: provider(model), maxRetries: 0, maxOutputTokens: 50 });

const TASKS = {
  async text(model) {
    const answer = await generateText({ ...settings(model), prompt: QUESTION });
    return [answer.text, answer.usage.totalTokens > 0];
  },
  async stream(model) {
    const answer = streamText({ ...settings(model), prompt: QUESTION });
    let said = '';
    for await (const piece of answer.textStream) said += piece;
    return [said, true];
  },
  async tools(model) {
    const seen = [];
    const tide_at = tool({
      description: 'When the tide is low.',
      inputSchema: z.object({ port: z.string() }),
      execute: async (given) => {
        seen.push(given);
        return '14:10';
      },
    });
    const answer = await generateText({
      ...settings(model),
      prompt: QUESTION,
      tools: { tide_at },
      stopWhen: stepCountIs(3),
    });
    return ['tide_at', ...seen, answer.text];
  },
  async image(model, picture) {
    const image = { type: 'image', image: picture, mediaType: 'image/png' };
    const content = [{ type: 'text', text: 'What is it?' }, image];
    const answer = await generateText({ ...settings(model), messages: [{ role: 'user', content }] });
    return [answer.text];
  },
  async form(model) {
    const output = Output.object({ schema: Tide });
    const answer = await generateText({ ...settings(model), prompt: QUESTION, output });
    return answer.output;
  },
  async error(model) {
    try {
      await generateText({ ...settings(model), prompt: QUESTION });
    } catch (error) {
      return error.statusCode ?? null;
    }
    return null;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  let told;
  try {
    told = { result: await TASKS[task.task](task.model, task.picture) };
  } catch (failure) {
    told = { failure: `${failure.name}: ${failure.message}` };
  }
  console.log(JSON.stringify(told));
}
