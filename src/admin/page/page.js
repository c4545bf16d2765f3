// The admin page: reads the admin API and shows it. Amounts stay the decimal texts they are, and
// what others named is only ever set as text.
"use strict";

const REFRESH_MS = 5000;
const ROWS_MAX = 50;
const KEY = "bedrock-meter-token";
const at = (id) => document.getElementById(id);

let rows = [];
let first = 0;
let lastUpdate = null;
let timer = 0;

class Refused extends Error {
  constructor(status, message, login) {
    super(message);
    this.status = status;
    this.login = login;
  }
}

async function ask(path) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store" });
  const body = await answer.text();
  // /readyz answers 503 with the same body when the process is not ready.
  if (answer.ok || path === "/readyz") return body;
  let said = { error: `HTTP ${answer.status}` };
  try { said = JSON.parse(body); } catch { /* not JSON: the status must do */ }
  throw new Refused(answer.status, said.error, said.login);
}

function money(amounts) {
  if (amounts === undefined) return "$0.00";
  const { cost_usd: cost, unpriced_calls: unpriced } = amounts;
  const note = `(${unpriced} ${unpriced === 1 ? "call" : "calls"} unpriced)`;
  if (cost === null) return `unknown ${note}`;
  const [whole, fraction = ""] = cost.split(".");
  const text = `$${whole}.${fraction.padEnd(2, "0")}`;
  return unpriced > 0 ? `>= ${text} ${note}` : text;
}

function spans() {
  const now = new Date();
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  const date = (...parts) => new Date(Date.UTC(...parts)).toISOString().slice(0, 10);
  const to = date(year, month, day + 1);
  return { day: `from=${date(year, month, day)}&to=${to}`, month: `from=${date(year, month, 1)}&to=${to}` };
}

const name = (row) => `${row.tenant} ${row.application}`;

// Larger of two decimal texts, without making them floats.
function compare(one, other) {
  const parts = (row) => (row.cost_usd ?? "0").split(".");
  const [[a, b = ""], [c, d = ""]] = [parts(one), parts(other)];
  if (a.length !== c.length) return c.length - a.length;
  if (a !== c) return a < c ? 1 : -1;
  return b === d ? 0 : b < d ? 1 : -1;
}

function cell(kind, text) {
  const made = document.createElement(kind === "th" ? "th" : "td");
  if (kind === "th") made.scope = "row";
  if (kind === "n") made.className = "n";
  made.textContent = text;
  return made;
}

function line(cells) {
  const made = document.createElement("tr");
  made.append(...cells.map(([kind, text]) => cell(kind, text)));
  return made;
}

function drawRows() {
  const wanted = at("filter").value.toLowerCase();
  const found = rows.filter((row) => name(row).toLowerCase().includes(wanted));
  found.sort(at("sort").value === "name" ? (a, b) => (name(a) < name(b) ? -1 : 1) : compare);
  first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / ROWS_MAX) * ROWS_MAX));
  const shown = found.slice(first, first + ROWS_MAX);
  at("rows").replaceChildren(...shown.map((row) => line([
    ["th", row.tenant], ["td", row.application],
    ["n", money(row.today)], ["n", money(row)], ["n", String(row.calls)],
  ])));
  const last = first + shown.length;
  at("place").textContent = found.length ? `${first + 1} to ${last} of ${found.length}` : "nothing matches";
  at("back").disabled = first === 0;
  at("next").disabled = last >= found.length;
  at("empty").hidden = rows.length > 0;
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([term, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term;
    dd.textContent = value;
    return [dt, dd];
  }));
}

function gauges(text) {
  const found = new Map();
  for (const sample of text.split("\n")) {
    const match = /^bedrock_meter_(\w+) (\S+)$/.exec(sample);
    if (match) found.set(match[1], Number(match[2]));
  }
  return found;
}

function drawHealth(health, read) {
  const value = (key, unit) => (read.has(key) ? `${Math.round(read.get(key) * 10) / 10}${unit}` : "unknown");
  facts(at("health"), [
    ["Ready", health.ready ? "yes" : "no"],
    ...health.checks.map((check) => [check.name, `${check.state}: ${check.detail}`]),
    ["Entries waiting", value("ledger_queue_depth", "")],
    ["Oldest open call", value("oldest_open_call_seconds", " s")],
    ["Drains", value("open_drains", "")],
    ["Credentials expire in", read.has("credentials_expiry_seconds") ? value("credentials_expiry_seconds", " s") : "not said"],
    ["Price catalogue age", read.has("price_catalogue_age_seconds") ? `${Math.floor(read.get("price_catalogue_age_seconds") / 86400)} days` : "unknown"],
  ]);
}

function drawSpend(day, month) {
  const key = (row) => JSON.stringify([row.tenant, row.application]);
  const today = new Map(day.rows.map((row) => [key(row), row]));
  rows = month.rows.map((row) => ({ ...row, today: today.get(key(row)) }));
  const total = month.total;
  at("today").textContent = money(day.total);
  at("month").textContent = money(total);
  at("trust").textContent = `Of ${money(total)}, $${total.estimated_cost_usd} rests on estimated usage `
    + `(${total.estimated_calls} of ${total.calls} calls). Usage unknown: ${total.missing_calls}; `
    + `unpriced: ${total.unpriced_calls}. Unknown is never zero.`;
  drawBar(total);
  drawRows();
}

function drawLive(live) {
  const age = (ms) => (ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60000)} min`);
  at("live").textContent = String(live.open);
  at("none-open").hidden = live.open > 0;
  at("open-calls").hidden = live.open === 0;
  at("open-rows").replaceChildren(...live.calls.slice(0, ROWS_MAX).map((call) => line([
    ["th", call.tenant], ["td", call.application], ["td", call.model ?? "–"],
    ["td", call.operation], ["n", age(call.age_ms)],
  ])));
}

// How much of a limit is taken, in thousandths: whole numbers, as amounts are not floats here.
function thousandths(amount, limit) {
  const femto = (text) => {
    const [whole, fraction = ""] = text.split(".");
    return BigInt(whole + fraction.padEnd(15, "0"));
  };
  const all = femto(limit);
  const part = all > 0n ? (femto(amount) * 1000n) / all : 1000n;
  return Number(part > 1000n ? 1000n : part);
}

function budgetBar(one) {
  const bar = document.createElement("span");
  bar.className = "bar";
  bar.setAttribute("aria-hidden", "true");
  const spent = thousandths(one.spent_usd, one.limit_usd);
  const held = Math.min(thousandths(one.held_usd, one.limit_usd), 1000 - spent);
  for (const [kind, share] of [["spent", spent], ["held", held], ["left", 1000 - spent - held]]) {
    const part = document.createElement("span");
    part.className = kind;
    part.style.flexGrow = String(share);
    bar.append(part);
  }
  return bar;
}

// The fullest first.
function drawBudgets(budgets) {
  const fullness = (one) => thousandths(one.spent_usd, one.limit_usd);
  const sorted = [...budgets].sort((a, b) => fullness(b) - fullness(a));
  at("budgets").hidden = budgets.length === 0;
  at("budget-rows").replaceChildren(...sorted.slice(0, ROWS_MAX).map((one) => {
    const row = line([
      ["th", `${one.budget} (${one.period})`], ["td", one.subject || "everybody"],
      ["n", `$${one.limit_usd}`], ["n", `$${one.spent_usd}`], ["n", `$${one.held_usd}`], ["n", `$${one.remaining_usd}`],
    ]);
    row.firstChild.append(budgetBar(one));
    return row;
  }));
  at("budgets-more").hidden = sorted.length <= ROWS_MAX;
  at("budgets-more").textContent = `The ${ROWS_MAX} fullest of ${sorted.length}.`;
}

// Shares of calls, not of dollars: what is unknown has no dollars to draw.
function drawBar(total) {
  const unknown = Math.max(total.missing_calls, total.unpriced_calls);
  const estimated = Math.min(total.estimated_calls, total.calls - unknown);
  const shares = { reported: total.calls - unknown - estimated, estimated, unknown };
  for (const [kind, calls] of Object.entries(shares)) {
    at(`bar-${kind}`).style.flexGrow = String(calls);
    at(`bar-${kind}`).title = `${kind}: ${calls} calls`;
  }
}

function say(text) {
  if (at("banner").textContent !== text) at("banner").textContent = text;
  at("banner").hidden = text === "";
}

function drawWho(session) {
  const of = session.tenant ? `${session.role} of ${session.tenant}` : session.role;
  at("person").textContent = `${session.name ?? session.actor} (${of})`;
  at("logout").hidden = session.logout === null;
  at("who").hidden = session.actor === "loopback";
}

// Not every role may read the metrics; the page does without them.
async function metrics() {
  try {
    return await ask("/metrics");
  } catch (failure) {
    if (failure.status === 403) return "";
    throw failure;
  }
}

async function refresh() {
  clearTimeout(timer);
  try {
    const { day, month } = spans();
    const report = "/api/v1/report?by=tenant,application&";
    const [read, session, today, all, live, budgets, health] = await Promise.all(
      [metrics(), ...["/api/v1/session", report + day, report + month, "/api/v1/live", "/api/v1/budgets", "/readyz"].map(ask)]);
    drawSpend(JSON.parse(today), JSON.parse(all));
    drawLive(JSON.parse(live));
    drawBudgets(JSON.parse(budgets).budgets);
    drawHealth(JSON.parse(health), gauges(read));
    drawWho(JSON.parse(session));
    lastUpdate = new Date().toISOString().slice(11, 19);
    at("updated").textContent = `Updated ${lastUpdate} UTC`;
    at("login").hidden = true;
    say("");
  } catch (failure) {
    const status = failure instanceof Refused ? failure.status : 0;
    if (status === 401 && failure.login && location.search !== "?token") {
      sessionStorage.removeItem(KEY);
      location.assign("/login");
      return;
    }
    if (status === 401) at("login").hidden = false;
    const since = lastUpdate ? ` Last update ${lastUpdate} UTC.` : "";
    say(status === 401 ? "This listener wants the admin token."
      : status ? `The server answered: ${failure.message}.${since}`
      : `The server cannot be reached; trying again.${since}`);
  }
  // A tab that nobody looks at asks nothing; it asks at once when it is looked at again.
  timer = document.hidden ? 0 : setTimeout(refresh, REFRESH_MS);
}

// Every member of the answer by its path: what a later version adds shows without a change here.
function members(value, path) {
  if (value === null || typeof value !== "object") return [[path, value === null ? "–" : String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => members(inner, path ? `${path}.${key}` : key));
}

// The sum as a bill has it: quantity x price = amount.
function bill(charge) {
  const table = document.createElement("table");
  const columns = [["th", "What"], ["n", "Quantity"], ["n", "Price of one"], ["n", "Amount"], ["td", "Rate"]];
  const head = document.createElement("thead");
  head.append(line(columns));
  const body = document.createElement("tbody");
  body.append(...charge.lines.map((item) => line([["th", item.dimension], ["n", String(item.quantity)],
    ["n", `$${item.price_usd}`], ["n", `$${item.amount_usd}`], ["td", item.rate_id]])));
  const cost = charge.cost_usd === null ? `unknown (${charge.reason ?? charge.status})` : `$${charge.cost_usd}`;
  body.append(line([["th", "Cost"], ["n", ""], ["n", ""], ["n", cost], ["td", charge.catalogue]]));
  table.append(head, body);
  return table;
}

async function explain(event) {
  event.preventDefault();
  const place = at("answer");
  try {
    const call = JSON.parse(await ask(`/api/v1/calls/${encodeURIComponent(at("call").value.trim())}`));
    const { lines, ...charge } = call.charge;
    const list = document.createElement("dl");
    facts(list, members({ ...call, charge }, ""));
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.append(bill({ ...charge, lines }));
    place.replaceChildren(scroll, list);
  } catch (failure) {
    place.textContent = failure instanceof Refused ? failure.message : "The server cannot be reached.";
  }
}

document.addEventListener("visibilitychange", () => { if (!document.hidden && timer === 0) refresh(); });
at("filter").addEventListener("input", () => { first = 0; drawRows(); });
at("sort").addEventListener("change", () => { first = 0; drawRows(); });
at("back").addEventListener("click", () => { first -= ROWS_MAX; drawRows(); });
at("next").addEventListener("click", () => { first += ROWS_MAX; drawRows(); });
at("explain").addEventListener("submit", explain);
at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("token").value);
  at("token").value = "";
  refresh();
});
refresh();
