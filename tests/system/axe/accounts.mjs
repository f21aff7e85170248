// node accounts.mjs BASE_URL CHROMIUM EMAIL PASSWORD: the walk of somebody with an account, and
// axe-core over one's own pages. Prints one JSON document; the first step that fails ends it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { withBrowser } from "./browser.mjs";

const [base, chromium, email, password] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const report = { held: [], runs: 0, violations: [], overflow: [], errors: [] };
const step = async (name, work) => { await work(); report.held.push(name); };

await withBrowser(chromium, async (browser) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("pageerror", (error) => report.errors.push(String(error)));
  // What the site's Content-Security-Policy or Trusted Types stop is said here, by Chromium.
  page.on("console", (message) => { if (/Content.Security.Policy|Trusted|integrity/i.test(message.text())) report.errors.push(`${page.url()}: ${message.text()}`); });

  async function examine(path) {
    for (const width of [390, 1440]) {
      for (const colorScheme of ["light", "dark"]) {
        await page.setViewportSize({ width, height: 844 });
        await page.emulateMedia({ colorScheme });
        await page.goto(`${base}${path}`, { waitUntil: "load" });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) report.overflow.push(`${path} ${width}: ${wide} px too wide`);
        // Through the debugger, not as a script of the page: its policy stays as it is.
        await page.evaluate(axe);
        const found = await page.evaluate((tags) => axe.run(document, { runOnly: tags, resultTypes: ["violations"] }), TAGS);
        report.runs += 1;
        for (const { id, nodes } of found.violations) report.violations.push(`${path} ${width} ${colorScheme} ${id}: ${nodes[0].target} ${nodes[0].failureSummary}`);
      }
    }
  }

  await step("a heart leads to signing in, and back to the question", async () => {
    await page.goto(`${base}/en/venues/2`);
    await page.locator("[data-heart]").first().click();
    await page.waitForURL(/\/en\/sign-in\?/);
    for (const language of ["en", "si", "ta"]) await examine(`/${language}/sign-in`);
    await page.goto(`${base}/en/venues/2`);
    await page.locator("[data-heart]").first().click();
    await page.locator("#email").fill(email);
    await page.locator("#password").fill(password);
    await page.locator(".account-form button").click();
    await page.waitForURL(/\/en\/shortlist\/keep\?listing=venue:2$/);
    await page.locator(".account-form button").click();
    await page.waitForURL(/\/en\/shortlist$/);
    assert.equal(await page.locator(".shortlist li").count(), 1);
  });
  await step("a cached page shows the heart, the count and the name", async () => {
    await page.goto(`${base}/en/venues/2`);
    await page.waitForFunction(() => document.querySelector("[data-heart]").getAttribute("aria-pressed") === "true");
    assert.equal(await page.locator("[data-shortlist-count]").innerText(), "1");
    assert.match(await page.locator("[data-account]").getAttribute("href"), /\/en\/account$/);
  });
  await step("a heart is a button once somebody is signed in", async () => {
    await page.goto(`${base}/en/vendors/photography`);
    await page.locator(".card-title a").first().click();
    await page.waitForSelector("[data-heart][aria-pressed=false]");
    await page.locator("[data-heart]").first().click();
    await page.waitForSelector("[data-heart][aria-pressed=true]");
    assert.equal(await page.locator("[data-shortlist-count]").innerText(), "2");
    await page.locator("[data-heart]").first().press(" ");
    await page.waitForSelector("[data-heart][aria-pressed=false]");
    assert.equal(await page.locator("[data-shortlist-count]").innerText(), "1");
  });
  await step("one's own pages are accessible", async () => {
    const pages = ["/account", "/account/password", "/account/email", "/shortlist", "/shortlist/keep?listing=venue:2", "/account/people"];
    for (const language of ["en", "si", "ta"]) for (const path of pages) await examine(`/${language}${path}`);
  });
  await step("signed out, pages show nobody", async () => {
    await page.goto(`${base}/en/account`);
    await page.locator("form[action$='/sign-out-everywhere'] button").click();
    await page.waitForURL(/\/sign-in$/);
    await page.goto(`${base}/en/venues/2`);
    await page.waitForLoadState("networkidle");
    assert.equal(await page.locator("[data-shortlist-count]").isHidden(), true);
    assert.match(await page.locator("[data-account]").getAttribute("href"), /\/en\/sign-in$/);
    await page.goto(`${base}/en/account`);
    assert.match(page.url(), /\/en\/sign-in\?/);
  });
});
console.log(JSON.stringify(report));
