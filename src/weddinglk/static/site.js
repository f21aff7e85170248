/* What the pages do better with a script; everything works without it. No markup is made from text. */
(() => {
  "use strict";
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const announcer = find("[data-announce]");
  const announce = (text) => { announcer.textContent = ""; requestAnimationFrame(() => { announcer.textContent = text; }); };

  /* Filters: results follow each choice; the address keeps up, back and forward work. */
  let pending = null;
  /* A request that parses its answer itself: no string becomes markup here (Trusted Types), and no script in it runs. */
  function load(url, signal) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", url);
      request.responseType = "document";
      request.onload = () => (request.status === 200 && request.response ? resolve([request.response, request.responseURL]) : reject(new Error(String(request.status))));
      request.onerror = () => reject(new Error("network"));
      signal.addEventListener("abort", () => { request.abort(); reject(signal.reason); });
      request.send();
    });
  }
  async function show(url, push) {
    const results = find("#results");
    pending?.abort();
    pending = new AbortController();
    results.setAttribute("aria-busy", "true");
    try {
      const [page, place] = await load(url, pending.signal);
      const focused = document.activeElement?.id || document.activeElement?.name;
      const value = document.activeElement?.value;
      find("#results").replaceWith(page.getElementById("results"));
      refreshForm(page, push);
      document.title = page.title;
      all(".languages a").forEach((link, index) => { link.href = all(".languages a", page)[index].getAttribute("href"); });
      if (push) history.pushState(null, "", place);
      if (focused) (document.getElementById(focused) || find(`#filters [name="${CSS.escape(focused)}"][value="${CSS.escape(value)}"]`))?.focus({ preventScroll: true });
      refreshTray();
      announce(find("[data-count]").textContent);
    } catch (error) {
      if (error.name !== "AbortError") location.assign(url);
    }
  }
  function refreshForm(page, keepTyped) {
    /* Counts and options are new; a text somebody is typing stays, unless they went back. */
    const fresh = page.getElementById("filters"), old = document.getElementById("filters");
    const text = find("[name=q]", old), typed = text.value, caret = text.selectionStart, typing = keepTyped && document.activeElement === text;
    old.replaceChildren(...fresh.childNodes);
    const renewed = find("[name=q]", old);
    if (typing) { renewed.value = typed; renewed.focus({ preventScroll: true }); renewed.setSelectionRange(caret, caret); }
    const summary = find("[data-filter-panel] summary"), other = find("[data-filter-panel] summary", page);
    if (summary && other) summary.replaceChildren(...other.childNodes);
  }
  function addressOf(form) {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
    const text = query.toString();
    return form.getAttribute("action") + (text ? `?${text}` : "");
  }
  let typing = 0;
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form?.id === "filters" && event.target.name !== "q") show(addressOf(form), true);
  });
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form?.id !== "filters" || event.target.name !== "q") return;
    clearTimeout(typing);
    typing = setTimeout(() => show(addressOf(form), true), 350);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "filters") return;
    event.preventDefault();
    show(addressOf(event.target), true);
  });
  addEventListener("popstate", () => { if (find("#filters")) show(location.href, false); });
  const panel = find("[data-filter-panel]");
  if (panel && matchMedia("(max-width: 56rem)").matches) panel.open = false;

  /* Compare: up to four venues remembered in this browser. */
  const KEY = "weddinglk.compare", MOST = 4;
  const read = () => { try { const list = JSON.parse(localStorage.getItem(KEY)); return Array.isArray(list) ? list.filter((v) => /^\d+$/.test(v.id)).slice(0, MOST) : []; } catch { return []; } };
  const write = (list) => { try { localStorage.setItem(KEY, JSON.stringify(list)); } catch { /* private mode: for this page only */ } refreshTray(list); };
  function refreshTray(list = read()) {
    const ids = list.map((venue) => venue.id);
    const query = ids.map((id) => `venue=${id}`).join("&");
    all("[data-compare-link], [data-compare-go]").forEach((link) => { const path = link.getAttribute("href").split("?")[0]; link.setAttribute("href", query ? `${path}?${query}` : path); });
    all("[data-compare-count]").forEach((badge) => { badge.hidden = !ids.length; badge.textContent = ids.length; });
    all("[data-compare]").forEach((box) => { box.checked = ids.includes(box.dataset.compare); });
    all("[data-compare-toggle]").forEach((button) => {
      const chosen = ids.includes(button.dataset.compareToggle);
      button.setAttribute("role", "button");
      button.setAttribute("aria-pressed", String(chosen));
      find("span", button).textContent = chosen ? button.dataset.on : button.dataset.off;
    });
    const tray = find("[data-compare-tray]"), names = find("[data-compare-names]");
    tray.hidden = !ids.length || /\/compare$/.test(location.pathname);
    names.textContent = `${names.dataset.many} ${list.map((venue) => venue.name).join(" · ")}`;
  }
  function toggle(id, name, chosen) {
    const list = read().filter((venue) => venue.id !== id);
    if (chosen && list.length >= MOST) { announce(announcer.dataset.full); refreshTray(); return; }
    if (chosen) list.push({ id, name });
    write(list);
    announce(`${chosen ? announcer.dataset.added : announcer.dataset.removed} ${name}`);
  }
  document.addEventListener("change", (event) => {
    const box = event.target.closest("[data-compare]");
    if (box) toggle(box.dataset.compare, box.dataset.name, box.checked);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-compare-toggle]");
    if (button) { event.preventDefault(); toggle(button.dataset.compareToggle, button.dataset.name, button.getAttribute("aria-pressed") !== "true"); }
    const drop = event.target.closest("[data-compare-drop]");
    if (drop) write(read().filter((venue) => venue.id !== drop.dataset.compareDrop));
    if (event.target.closest("[data-compare-clear]")) write([]);
    const day = event.target.closest("[data-day]");
    if (day) { const field = find("#wedding-date"); field.value = day.dataset.day; answer(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches("[data-compare-toggle]")) { event.preventDefault(); event.target.click(); }
  });
  addEventListener("storage", (event) => { if (event.key === KEY) refreshTray(); });

  /* Calendar: the answer without a new page, when the day is on it. */
  function answer() {
    const field = find("#wedding-date"), line = find(".date-answer");
    all(".is-asked").forEach((cell) => cell.classList.remove("is-asked"));
    const cell = field.value && find(`[data-day="${CSS.escape(field.value)}"]`);
    line.className = "date-answer";
    line.textContent = "";
    if (!cell) return false;
    const free = cell.classList.contains("free");
    cell.classList.add("is-asked");
    line.classList.add(free ? "free" : "booked");
    line.textContent = free ? line.dataset.free : line.dataset.booked;
    return true;
  }
  find("[data-date-check]")?.addEventListener("submit", (event) => { if (answer()) event.preventDefault(); });

  /* Search box: listings offered while one types. */
  all("[data-suggest]").forEach((field) => {
    const list = document.createElement("datalist");
    list.id = `${field.id}-list`;
    field.after(list);
    field.setAttribute("list", list.id);
    let wait = 0, last = "";
    field.addEventListener("input", () => {
      clearTimeout(wait);
      const text = field.value.trim();
      if (text.length < 2 || text === last) return;
      wait = setTimeout(async () => {
        last = text;
        try {
          const response = await fetch(`${field.dataset.suggest}&q=${encodeURIComponent(text)}`);
          if (!response.ok) return;
          list.replaceChildren(...(await response.json()).map((item) => { const option = document.createElement("option"); option.value = item.text; option.label = item.place; return option; }));
        } catch { /* no suggestions then */ }
      }, 180);
    });
  });

  /* Who somebody is: pages of listings are everybody's, so a script asks, if this browser has signed in. */
  const SIGNED_IN = "weddinglk.signed-in";
  const hint = {
    get: () => { try { return localStorage.getItem(SIGNED_IN) === "yes"; } catch { return true; } },
    set: (yes) => { try { if (yes) localStorage.setItem(SIGNED_IN, "yes"); else localStorage.removeItem(SIGNED_IN); } catch { /* then each page asks */ } },
  };
  if (document.body.dataset.signedIn) hint.set(document.body.dataset.signedIn === "yes");
  let person = null;
  function showPerson(badges) {
    const kept = badges?.listings || [];
    all("[data-shortlist-count]").forEach((badge) => { badge.hidden = !kept.length; badge.textContent = kept.length; });
    if (badges) all("[data-account]").forEach((link) => { link.setAttribute("href", link.dataset.account); find("span", link).textContent = badges.name; });
    all("[data-heart]").forEach((heart) => {
      const chosen = kept.includes(heart.dataset.heart);
      if (badges) { heart.setAttribute("role", "button"); heart.setAttribute("aria-pressed", String(chosen)); }
      find("span", heart).textContent = chosen ? heart.dataset.on : heart.dataset.off;
    });
  }
  async function meet() {
    try {
      const response = await fetch("/_poruwa/session", { headers: { Accept: "application/json" } });
      if (!response.ok) return;
      const told = await response.json();
      hint.set(told.signed_in);
      person = told.signed_in ? told : null;
      showPerson(person?.badges);
    } catch { /* the page is complete without it */ }
  }
  if (hint.get()) meet();
  addEventListener("pageshow", (event) => { if (event.persisted && hint.get()) meet(); });
  async function turn(heart) {
    const chosen = heart.getAttribute("aria-pressed") === "true";
    try {
      const response = await fetch(chosen ? "/shortlist/drop" : "/shortlist/keep", {
        method: "POST",
        headers: { Accept: "application/json", "X-CSRF-Token": person.csrf_token },
        body: new URLSearchParams({ listing: heart.dataset.heart }),
      });
      if (response.status === 401) { location.assign(heart.href); return; }
      if (!response.ok) throw new Error(String(response.status));
      showPerson(await response.json());
      announce(`${chosen ? announcer.dataset.dropped : announcer.dataset.kept} ${heart.dataset.name}`);
    } catch { announce(announcer.dataset.failed); }
  }
  document.addEventListener("click", (event) => {
    const heart = event.target.closest("[data-heart]");
    if (heart && person) { event.preventDefault(); turn(heart); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches("[data-heart][role=button]")) { event.preventDefault(); event.target.click(); }
  });
  refreshTray();
})();
