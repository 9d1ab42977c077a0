// How long the page's main thread works without a pause, in processor time: a machine that is busy with other things makes
// a task last longer, but not cost more. Chromium's own trace has both for every task (`dur` and `tdur`).

import assert from "node:assert/strict";

/// The longest that the page may hold its main thread (W3C Long Tasks, section 1: longer is felt).
export const LIMIT = 50;

/// A task of the page that held its main thread longer than LIMIT.
export class TooLong extends Error {}

const ATTEMPTS = 3;

/// Runs `body`, up to three times while it ends with TooLong: what the page's own work costs it costs every time, what the
/// browser does once in a while (a collection of garbage, a compilation) or another program on the same core adds, it does not.
export async function repeatedly(t, body) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await body();
    } catch (error) {
      if (!(error instanceof TooLong) || attempt === ATTEMPTS) throw error;
      t.diagnostic(`run ${attempt}: ${error.message}`);
    }
  }
}

const MARK = "oddlens-measured";
const CATEGORIES = ["disabled-by-default-devtools.timeline", "devtools.timeline", "blink.user_timing", "toplevel"];

/// Runs `body` and answers the tasks of the page's main thread meanwhile, the costliest first:
/// [{cpu, wall, what, event}], both in milliseconds; `what` names the costliest parts, `event(type)` answers the processor time
/// of the page's own answer to such an event. `path` keeps the whole trace.
export async function tasks(browser, page, body, path) {
  await browser.startTracing(page, { categories: CATEGORIES, path });
  let trace;
  try {
    await page.evaluate((mark) => void performance.mark(mark), MARK);
    await body();
  } finally {
    trace = JSON.parse((await browser.stopTracing()).toString("utf8"));
  }
  const events = Array.isArray(trace) ? trace : trace.traceEvents;
  const mark = events.find(({ name, cat }) => name === MARK && /user_timing/.test(cat));
  assert.ok(mark, "the trace has the page's mark");
  const mine = events.filter((e) => e.pid === mark.pid && e.tid === mark.tid && e.ph === "X" && e.ts + (e.dur ?? 0) >= mark.ts);
  const runs = mine.filter(({ name }) => name === "RunTask" || name === "ThreadControllerImpl::RunTask");
  runs.sort((a, b) => a.ts - b.ts || b.dur - a.dur);
  const outer = [];
  for (const run of runs) if (!outer.length || run.ts >= outer.at(-1).ts + outer.at(-1).dur) outer.push(run);
  assert.ok(outer.length && outer.some(({ tdur }) => tdur > 0), "the trace has tasks and their processor time");
  const parts = mine.filter(({ name }) => !/RunTask/.test(name));
  return outer
    .map((run) => ({
      cpu: (run.tdur ?? run.dur) / 1000,
      wall: run.dur / 1000,
      event: (type) => Math.max(0, ...parts.filter((e) => e.name === "EventDispatch" && e.args?.data?.type === type && e.ts >= run.ts && e.ts + e.dur <= run.ts + run.dur).map(({ tdur }) => tdur / 1000)),
      get what() {
        const inside = parts.filter((e) => e.ts >= run.ts && e.ts + e.dur <= run.ts + run.dur && e.dur > 1000);
        return inside.sort((a, b) => b.dur - a.dur).slice(0, 6).map(({ name, args, dur, tdur }) =>
          `${name}${args?.data?.type ? ` ${args.data.type}` : ""} ${((tdur ?? dur) / 1000).toFixed(0)}`).join(", ");
      },
    }))
    .sort((a, b) => b.cpu - a.cpu);
}

/// Runs `body`; throws TooLong if a task of the page holds its main thread longer than LIMIT. Answers a line with the figures.
export async function awake(browser, page, what, body) {
  const all = await tasks(browser, page, body);
  const [worst] = all;
  const line = `${what}: longest task ${worst.cpu.toFixed(1)} ms of processor time (${worst.wall.toFixed(0)} ms by the clock)`;
  if (worst.cpu > LIMIT) throw new TooLong(`${line}, at most ${LIMIT}: ${worst.what}`);
  return line;
}
