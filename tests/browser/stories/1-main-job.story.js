// The main job through the dashboard: a site, a token, a garage that comes online before the operator's eyes, its page at a
// public URL, and each of its hops named when it breaks.
import { expect, fits, forgive, kill, test, world } from "./world.js";

const SITE = "demo/garagem-02";
const HOST = "garagem-02.localhost";
const PUBLIC_URL = `https://${HOST}:${world.httpsPort}/`;

test.use({ permissions: ["clipboard-read", "clipboard-write"] });

test("a garage enrols and its page answers at its public URL", async ({ operator: page, complaints, start }) => {
  const token = await test.step("the operator creates a site and a token, and copies it", async () => {
    await createSite(page, "garagem-02");
    return createToken(page);
  });
  let garage = start("garage", ["demo-garage", "--listen", `127.0.0.1:${world.garagePort}`]);

  const agent = await test.step("the node comes online without a reload", async () => {
    await page.goto("/nodes");
    await stayOn(page);
    await expect(page.locator("#live-badge")).toHaveAttribute("data-state", "on");
    await expect(nodeRow(page)).toHaveCount(0);
    const words = ["demo-node", "up", "--state", `${world.folder}/node`, "--engine", "netstack", "--name", "servidor"];
    const agent = start("node", words, { MALHA_TOKEN: token });
    await expect(nodeRow(page).locator(".hop.good")).toHaveText([/Controle/, /Túnel/]);
    await expectNoReload(page);
    return agent;
  });

  await test.step("a service and a route give it a public URL", async () => {
    await addService(page);
    await addRoute(page);
    const service = page.locator("tr[id^='service-']").filter({ hasText: SITE });
    await stayOn(page);
    await expect(service).toContainText("responde");
    await expectNoReload(page);
  });

  await test.step("its page works there: form and WebSocket", async () => {
    const opened = page.waitForEvent("popup");
    await page.getByRole("link", { name: HOST }).click();
    const garagePage = await opened;
    await expect(garagePage).toHaveURL(PUBLIC_URL);
    await expect(garagePage.locator("h1")).toHaveText("Garagem 01");
    await expect(garagePage.locator("#eco")).toHaveText(/^eco em \d+ ms$/);
    await garagePage.locator("#placa").fill("abc1d23");
    await garagePage.getByRole("button", { name: "Registrar entrada" }).click();
    await expect(garagePage.locator(".plates li")).toHaveText(["ABC1D23"]);
    await expect(garagePage).toHaveURL(PUBLIC_URL);
    await fits(garagePage, "garage");
    await garagePage.close();
  });

  await test.step("a dead web server is named", async () => {
    await page.goto("/nodes");
    await nodeRow(page).getByRole("link").click();
    await stayOn(page);
    await expect(page.locator(".verdict")).toHaveText(/O caminho inteiro passa/);
    await fits(page, "node-well");
    await kill(garage);
    await expect(page.locator(".verdict")).toHaveText(/Serviço web: a máquina recusou a conexão/);
    await expect(page.locator(".chain .bad .link-name")).toHaveText(/web/);
    const visit = await page.context().newPage();
    const answer = await visit.goto(PUBLIC_URL);
    expect(answer.status()).toBe(502);
    await expect(visit.locator("h1")).toHaveText("O serviço está parado");
    await expect(visit.locator("body")).toContainText("garagem-02");
    await fits(visit, "edge-502");
    forgive(complaints, 502);
    await visit.close();
  });

  await test.step("and forgotten when it is back", async () => {
    garage = start("garage", ["demo-garage", "--listen", `127.0.0.1:${world.garagePort}`]);
    await expect(page.locator(".verdict")).toHaveText(/O caminho inteiro passa/);
  });

  await test.step("a dead agent is named", async () => {
    await kill(agent);
    await expect(page.locator(".verdict")).toHaveText(/Agente: .*está parado/);
    await expectNoReload(page);
    const visit = await page.context().newPage();
    const answer = await visit.goto(PUBLIC_URL);
    expect([502, 504]).toContain(answer.status());
    await fits(visit, "edge-agent-dead");
    forgive(complaints, answer.status());
  });
});

async function createSite(page, name) {
  await page.goto("/sites");
  const form = await opened(page, "#form-site");
  await form.getByLabel("Organização").selectOption("demo");
  await form.getByLabel("Nome").fill(name);
  await form.getByRole("button", { name: "Criar" }).click();
  await expect(page.locator(".notice.good")).toBeVisible();
}

async function createToken(page) {
  await page.goto("/tokens");
  const form = await opened(page, "#form-token");
  await form.getByLabel("Local (organização/local)").selectOption(SITE);
  await form.getByRole("button", { name: "Criar" }).click();
  const shown = await page.locator("#token-secret").textContent();
  await page.getByRole("button", { name: "Copiar só o token" }).click();
  await expect(page.getByRole("button", { name: "Copiado" })).toBeVisible();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toBe(shown);
  await fits(page, "token-issued");
  return copied;
}

async function addService(page) {
  await page.goto("/services");
  const form = await opened(page, "#form-service");
  await form.getByLabel("Nó").selectOption({ label: `${SITE}/servidor` });
  await form.getByLabel("Nome").fill("web");
  await form.getByLabel("Porta na malha").fill("80");
  await form.getByLabel("Destino local").fill(`127.0.0.1:${world.garagePort}`);
  await form.getByLabel("Exposição").selectOption("public");
  await form.getByRole("button", { name: "Adicionar" }).click();
  await expect(page.locator(".notice.good")).toBeVisible();
}

async function addRoute(page) {
  const form = await opened(page, "#form-route");
  await form.getByLabel("Host público").fill(HOST);
  await form.getByLabel(`${SITE}/servidor/web`).check();
  await form.getByRole("button", { name: "Adicionar" }).click();
  await expect(page.locator(".notice.good")).toBeVisible();
}

// A form's panel, opened if it is not.
async function opened(page, panel) {
  const form = page.locator(panel);
  if ((await form.getAttribute("open")) === null) await form.locator("summary").first().click();
  return form;
}

function nodeRow(page) {
  return page.locator("tr[id^='node-']").filter({ hasText: SITE });
}

// Marks the document, which a reload would replace.
async function stayOn(page) {
  await page.evaluate(() => (window.stayed = true));
}

async function expectNoReload(page) {
  expect(await page.evaluate(() => window.stayed), "the page was not loaded again").toBe(true);
}
