// node forms.mjs SITE CHROMIUM EMAIL PASSWORD: what pages of another site (another host name) and of
// another origin of the same site (another port) can have the browser of somebody signed in do.
// SITE is http://localhost:PORT; the hostile pages are at 127.0.0.1 and localhost, on a port of
// their own. Prints one JSON document; judging it is the caller's.
import { createServer } from "node:http";
import { withBrowser } from "./browser.mjs";

const [site, chromium, email, password] = process.argv.slice(2);
const FORMS = {
  "/sign-in": { email, password },
  "/sign-out": {},
  "/account/sign-out-everywhere": {},
  "/account/confirm": { password },
  "/account/password": { current: password, new: "a-new-password-for-the-thief" },
  "/account/email": { current: password, email: "thief@example.com" },
  "/account/devices": { handle: "x" },
  "/account/people": { person: "c1" },
  "/shortlist/keep": { listing: "venue:5" },
  "/shortlist/drop": { listing: "venue:2" },
};
const ENCODINGS = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
const report = { forms: [], scripts: [], frames: [], sockets: [], links: [], own: {} };

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
function hostilePage(query) {
  const path = query.get("path");
  if (query.has("frame")) return `<iframe src="${site}${path}"></iframe>`;
  const fields = Object.entries(FORMS[path] ?? {}).map(([name, value]) => `<input type="hidden" name="${name}" value="${escaped(value)}">`);
  return `<form method="post" action="${site}${path}" enctype="${query.get("encoding")}">${fields.join("")}<button>Win a honeymoon</button></form>
<a href="${site}/en/account">A link</a>`;
}
const hostile = createServer((request, response) => {
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(`<!doctype html><title>x</title>${hostilePage(new URL(request.url, "http://x").searchParams)}`);
});
await new Promise((resolve) => hostile.listen(0, "127.0.0.1", resolve));
const port = hostile.address().port;
const ORIGINS = { "cross-site": `http://127.0.0.1:${port}`, "same-site": `http://localhost:${port}` };

async function told(response) {
  const headers = await response.request().allHeaders();
  return { status: response.status(), said: headers["sec-fetch-site"] ?? "", origin: headers.origin ?? "", hasCookies: "cookie" in headers };
}
const isTo = (path, method) => (response) => response.request().method() === method && new URL(response.url()).pathname === path && response.url().startsWith(site);

await withBrowser(chromium, async (browser) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const network = await context.newCDPSession(page);
  await network.send("Network.enable");
  const [posts, sent, received] = [[], {}, {}];
  network.on("Network.requestWillBeSent", ({ requestId, request }) => { if (request.method === "POST") posts.push(requestId); });
  network.on("Network.requestWillBeSentExtraInfo", ({ requestId, headers }) => { sent[requestId] = headers; });
  network.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => { received[requestId] = statusCode; });
  async function lastPost() {
    const id = posts.at(-1);
    for (let tries = 0; !(sent[id] && received[id]) && tries < 100; tries += 1) await page.waitForTimeout(20);
    return { status: received[id] ?? 0, said: sent[id]?.["Sec-Fetch-Site"] ?? "", hasCookies: "Cookie" in (sent[id] ?? {}) };
  }
  async function signIn(target) {
    await target.goto(`${site}/en/sign-in`);
    await target.locator("#email").fill(email);
    await target.locator("#password").fill(password);
    await target.locator(".account-form button").click();
    await target.waitForURL(/\/en\/account$/);
  }
  async function state() {
    const answer = await context.request.get(`${site}/_poruwa/session`);
    const cookies = await context.cookies(site);
    return { session: await answer.json(), cookies: cookies.filter((each) => /session-token/.test(each.name)).map((each) => each.value) };
  }
  const plain = ({ session: { csrf_token, ...others }, cookies }) => JSON.stringify({ others, cookies });

  await signIn(page);
  await page.goto(`${site}/en/venues/2`);
  await page.waitForSelector("[data-heart][aria-pressed=false]");
  await page.locator("[data-heart]").first().click();
  await page.waitForSelector("[data-heart][aria-pressed=true]");
  const before = await state();
  report.before = before.session;

  for (const [kind, origin] of Object.entries(ORIGINS)) {
    for (const path of Object.keys(FORMS)) {
      for (const encoding of ENCODINGS) {
        await page.goto(`${origin}/?${new URLSearchParams({ path, encoding })}`);
        const answer = page.waitForResponse(isTo(path, "POST"));
        await page.locator("button").click();
        report.forms.push({ kind, path, encoding, ...await told(await answer) });
      }
      await page.goto(`${origin}/?${new URLSearchParams({ path, encoding: ENCODINGS[0] })}`);
      // The page is not let see even that there was an answer: it is read off the network.
      await page.evaluate(([url, fields]) => fetch(url, { method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams(fields) }).catch(() => null), [`${site}${path}`, FORMS[path]]);
      report.scripts.push({ kind, path, ...await lastPost() });
    }
    // A link only reads, so it may; whether the cookies come along is SameSite's affair.
    await page.goto(`${origin}/?path=/sign-out&encoding=${ENCODINGS[0]}`);
    const followed = page.waitForResponse(isTo("/en/account", "GET"));
    await page.locator("a").click();
    report.links.push({ kind, ...await told(await followed) });
    for (const path of ["/en/venues/2", "/en/account"]) {
      await page.goto(`${origin}/?frame&path=${path}`);
      await page.waitForLoadState("networkidle");
      const frame = page.frames().find((each) => each !== page.mainFrame());
      report.frames.push({ kind, path, url: frame?.url() ?? "", text: frame ? await frame.locator("body").innerText().catch(() => "") : "" });
    }
    await page.goto(`${origin}/?path=/sign-out&encoding=${ENCODINGS[0]}`);
    report.sockets.push({ kind, ended: await page.evaluate((url) => new Promise((resolve) => {
      const socket = new WebSocket(url);
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    }), `${site.replace("http", "ws")}/en/venues/2`) });
  }
  const after = await state();
  report.unchanged = plain(after) === plain(before);

  // The same forms from the site's own pages do what they say: nothing else than where they came
  // from had them refused.
  await page.goto(`${site}/en/venues/2`);
  await page.waitForSelector("[data-heart][aria-pressed=true]");
  await page.locator("[data-heart]").first().click();
  await page.waitForSelector("[data-heart][aria-pressed=false]");
  report.own.heart = true;
  await page.goto(`${site}/en/account`);
  const ended = page.waitForResponse(isTo("/en/account/sign-out-everywhere", "POST"));
  await page.locator("form[action$='/sign-out-everywhere'] button").click();
  report.own.signOut = (await ended).status();
  await page.waitForURL(/\/sign-in$/);
  report.own.session = (await state()).session;
  await signIn(page); // by the password of before
  report.own.signIn = (await state()).session;
});
hostile.close();
console.log(JSON.stringify(report));
