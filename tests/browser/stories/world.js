// What a story is given: the demo's addresses and first password, a browser that reports what its console complains of, an
// operator who has signed in, and programs of its own to start and kill.
import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { join } from "node:path";
import { test as base, expect } from "@playwright/test";

const given = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is missing: start the stories with cargo test -p malha-tests --test browser`);
  return value;
};

export const world = {
  malha: given("MALHA_PROGRAM"),
  dashboard: given("MALHA_DASHBOARD"),
  user: given("MALHA_USER"),
  password: given("MALHA_PASSWORD"),
  httpsPort: Number(given("MALHA_HTTPS_PORT")),
  garagePort: Number(given("MALHA_GARAGE_PORT")),
  folder: given("MALHA_FOLDER"),
  chromium: given("MALHA_CHROMIUM"),
  results: join(given("MALHA_FOLDER"), "results"),
  // Where to leave a picture of each page; none are taken without it.
  pictures: process.env.MALHA_PICTURES,
};

export const SIZES = { phone: { width: 375, height: 812 }, desk: { width: 1280, height: 800 } };

export { expect };

let session;

export const test = base.extend({
  // Every page of a story, its new tabs too, must leave the console quiet and break no rule of its own policy.
  complaints: [
    async ({ context }, use) => {
      const complaints = [];
      context.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(`${message.page()?.url()}: ${message.text()}`);
      });
      context.on("weberror", (error) => complaints.push(`${error.page()?.url()}: ${error.error()}`));
      await use(complaints);
      expect(complaints, "complaints of the browser").toEqual([]);
    },
    { auto: true },
  ],

  // Signs in once for all stories of a worker: an operator's attempts are counted, the right ones too.
  operator: async ({ page, context }, use) => {
    if (session) {
      await context.addCookies(session);
      await page.goto("/");
      await expect(page.locator("#live")).toBeVisible();
    } else {
      await signIn(page);
      session = await context.cookies();
    }
    await use(page);
  },

  // Starts programs that end with the story.
  start: async ({}, use) => {
    const started = [];
    await use((name, words, environment = {}) => {
      const log = openSync(join(world.folder, `${name}.log`), "a");
      const program = spawn(world.malha, words, { env: { ...process.env, ...environment }, stdio: ["ignore", log, log] });
      started.push(program);
      return program;
    });
    await Promise.all(started.map(kill));
  },
});

export async function signIn(page) {
  await page.goto("/");
  await page.locator("#login-user").fill(world.user);
  await page.locator("#login-password").fill(world.password);
  await page.locator("form[action='/login'] button").click();
  await expect(page.locator("#live")).toBeVisible();
}

// Nothing makes the page scroll sideways, on a phone or on a desk. Leaves pictures of it if they are wanted.
export async function fits(page, name) {
  const wanted = page.viewportSize();
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width, `the width of ${name} on a ${size}`).toBeLessThanOrEqual(viewport.width);
    if (world.pictures) await takePictures(page, `${name}-${size}`);
  }
  await page.setViewportSize(wanted);
}

async function takePictures(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(world.pictures, `${name}-${colorScheme}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: null });
}

// As if it had crashed.
export function kill(program) {
  if (program.exitCode !== null || program.signalCode !== null) return undefined;
  const ended = new Promise((resolve) => program.once("exit", resolve));
  program.kill("SIGKILL");
  return ended;
}

// The browser says this of a document that came with an error status. A story that asks for one takes it back.
export function forgive(complaints, status) {
  const told = complaints.findIndex((complaint) => complaint.includes(`the server responded with a status of ${status}`));
  expect(told, `the browser saw a ${status}`).toBeGreaterThanOrEqual(0);
  complaints.splice(told, 1);
}
