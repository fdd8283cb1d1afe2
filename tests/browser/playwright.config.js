// How the stories run: in Debian's Chromium, one after the other, against a demo that is running already.
import { defineConfig } from "@playwright/test";
import { world } from "./stories/world.js";

export default defineConfig({
  testDir: "stories",
  testMatch: "*.story.js",
  // They share one controller and tell on from each other's end.
  workers: 1,
  forbidOnly: true,
  reporter: "list",
  outputDir: world.results,
  preserveOutput: "failures-only",
  timeout: 120_000,
  expect: { timeout: 20_000 },
  use: {
    baseURL: world.dashboard,
    browserName: "chromium",
    launchOptions: {
      executablePath: world.chromium,
      // Chromium refuses its sandbox to root.
      chromiumSandbox: process.getuid() !== 0,
    },
    // The demo's authority is nobody else's; curl checks the certificates against it.
    ignoreHTTPSErrors: true,
    locale: "pt-BR",
    viewport: { width: 1280, height: 800 },
    screenshot: "only-on-failure",
  },
});
