// Every page in both languages, on a phone and on a desk: nothing is wider than the screen, nothing is missing, and what is
// wrong in a form is said next to its field. With MALHA_PICTURES it leaves a picture of each.
import { SIZES, expect, fits, forgive, signIn, test, world } from "./world.js";

const LANGUAGES = { "pt-BR": "Visão geral", en: "Overview" };
const PAGES = {
  overview: "/",
  nodes: "/nodes",
  "no-match": "/nodes?q=nothing-like-this",
  sites: "/sites",
  organization: "/organizations/demo",
  tokens: "/tokens",
  services: "/services",
  balancers: "/balancers",
  policy: "/policy",
  profiles: "/profiles",
  compliance: "/compliance",
  zones: "/dns",
  zone: "/dns/localhost",
  activity: "/activity",
};

for (const [language, home] of Object.entries(LANGUAGES)) {
  test.describe(`in ${language}`, () => {
    test.use({ locale: language });

    test("every page fits, and speaks the language", async ({ page, complaints }) => {
      const look = (name) => fits(page, `${name}-${language}`);
      await page.goto("/login");
      await look("login");
      await signIn(page);
      await expect(page.locator("h1")).toHaveText(home);
      for (const [name, address] of [...Object.entries(PAGES), ...(await nodePages(page))]) {
        await page.goto(address);
        await expect(page.locator("html")).toHaveAttribute("lang", language);
        await expect(page.locator("#live-badge")).toHaveAttribute("data-state", "on");
        await look(name);
        await openAll(page);
        await look(`${name}-open`);
      }
      await page.goto("/no-such-page");
      await look("not-found");
      forgive(complaints, 404);
    });
  });
}

test.describe("the menu of a phone", () => {
  test.use({ viewport: SIZES.phone });

  test("opens, and leads on", async ({ operator: page }) => {
    await page.locator(".menu-button").click();
    await expect(page.locator("#menu")).toBeVisible();
    await fits(page, "menu");
    await page.locator("#menu a[href='/tokens']").click();
    await expect(page.locator("h1")).toHaveText("Tokens");
  });
});

test("the language is switched on the spot, and kept", async ({ operator: page }) => {
  await page.goto("/nodes");
  await page.getByRole("button", { name: "English" }).click();
  await expect(page).toHaveURL(/\/nodes$/);
  await expect(page.locator("h1")).toHaveText("Nodes");
  await page.goto("/tokens");
  await expect(page.locator("html")).toHaveAttribute("lang", "en");
  await page.getByRole("button", { name: "Português" }).click();
  await expect(page.locator("html")).toHaveAttribute("lang", "pt-BR");
});

const HOSTILE_NAMES = ["<script>alert(1)</script>", "../garagem", "Garagem 01", "gаragem", "-garagem", "x".repeat(64)];

for (const name of HOSTILE_NAMES) {
  test(`the site name ${name} is refused next to its field`, async ({ operator: page, complaints }) => {
    await page.goto("/sites");
    const form = page.locator("#form-site");
    await form.locator("summary").click();
    await form.getByLabel("Organização").selectOption("demo");
    const field = form.locator(".field").filter({ has: page.getByLabel("Nome") });
    await field.locator("input").fill(name);
    await form.getByRole("button", { name: "Criar" }).click();
    await expect(field.locator("input")).toHaveAttribute("aria-invalid", "true");
    await expect(field.locator("input")).toHaveValue(name);
    await expect(field.locator(".problem")).toBeVisible();
    await expect(page.locator("#live td").getByText(name, { exact: true })).toHaveCount(0);
    forgive(complaints, 422);
    await fits(page, `refused-${HOSTILE_NAMES.indexOf(name) + 1}`);
  });
}

test("one operator alone reads what a second approver means, and how to get one", async ({ operator: page }) => {
  await page.goto("/sites");
  await page.getByRole("link", { name: "demo", exact: true }).click();
  await expect(page.locator("h1")).toHaveText("demo");
  const panel = page.locator("#second-approver");
  await expect(panel).toContainText("outro operador aprove exatamente o que o autor viu");
  await expect(panel).toContainText("malha operator add");
  await expect(panel.locator("form")).toHaveCount(0);
});

test("a policy with a mistake is refused with its line, and stays in the form", async ({ operator: page, complaints }) => {
  await page.goto("/policy");
  const wrong = 'version = 1\n[[grant]]\nname = "a b"\nfrom = ["edge"]\nto = ["edge"]\nprotocol = "icmp"\n';
  await page.locator("#policy-text").fill(wrong);
  await page.getByRole("button", { name: "Ver o que muda" }).click();
  await expect(page.locator(".notice.bad")).toContainText("Linha 3, coluna 8: grant: name:");
  await expect(page.locator("#policy-text")).toHaveValue(wrong);
  forgive(complaints, 422);
});

test("a wrong password says so, and a right one still signs in", async ({ page, complaints }) => {
  await page.goto("/login");
  await page.locator("#login-user").fill(world.user);
  await page.locator("#login-password").fill("not-this-one");
  await page.locator("form[action='/login'] button").click();
  await expect(page.locator("#login-problem")).toBeVisible();
  await expect(page.locator("#login-user")).toHaveValue(world.user);
  await expect(page.locator("#login-password")).toHaveValue("");
  forgive(complaints, 401);
  await signIn(page);
});

async function openAll(page) {
  await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
}

// The node of each site.
async function nodePages(page) {
  await page.goto("/nodes");
  const links = page.locator("tr[id^='node-'] td.lead a");
  await expect(links.first()).toBeVisible();
  const addresses = await links.evaluateAll((all) => all.map((link) => link.getAttribute("href")));
  return addresses.map((address, index) => [`node-${index + 1}`, address]);
}
