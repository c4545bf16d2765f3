// Type-checks every dashboard against the types that Grafana publishes in @grafana/schema: the
// JSON becomes a literal of those types in a file that exists in memory only. Misspelled members,
// words outside an enumeration and wrong kinds of value are errors.
//
// The check is itself checked first: planted faults have to be found.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const here = path.dirname(fileURLToPath(import.meta.url));
const folder = path.join(here, "../../grafana/dashboards");
const types = path.join(here, "node_modules/@grafana/schema/dist/types/raw/composable");
const schema = (plugin) => `${types}/${plugin}/panelcfg/x/types.gen`;

// Enumerations as the words that stand in JSON.
const prelude = `
import type { Dashboard, Panel, RowPanel, VariableModel, DashboardLink } from "@grafana/schema";
import type { Options as Stat } from "${schema("stat")}";
import type { Options as BarGauge } from "${schema("bargauge")}";
import type { Options as TimeSeries, FieldConfig as TimeSeriesField } from "${schema("timeseries")}";
type Plain<T> = T extends string ? \`\${T}\`
  : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : T)
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
type Of<O, F = {}> = Plain<Omit<Panel, "options" | "fieldConfig"> & {
  options: Partial<O>;
  fieldConfig: Omit<NonNullable<Panel["fieldConfig"]>, "defaults"> & {
    defaults: Omit<NonNullable<Panel["fieldConfig"]>["defaults"], "custom"> & { custom?: Partial<F> };
  };
}>;
`;
const panelTypes = {
  row: "Plain<RowPanel>",
  stat: "Of<Stat>",
  bargauge: "Of<BarGauge>",
  timeseries: "Of<TimeSeries, TimeSeriesField>",
};

function source(dashboard) {
  const { panels, ...rest } = dashboard;
  const lines = [prelude, `export const dashboard: Plain<Dashboard> = ${JSON.stringify(rest)};`];
  for (const panel of panels) {
    const type = panelTypes[panel.type];
    if (!type) throw new Error(`no published type is known for panels of type ${panel.type}`);
    lines.push(`export const panel${panel.id}: ${type} = ${JSON.stringify(panel)};`);
  }
  return lines.join("\n");
}

const options = {
  strict: true, noEmit: true, skipLibCheck: true, types: [],
  target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};
const host = ts.createCompilerHost(options);
const parsed = new Map();
const read = host.getSourceFile;

/** What is wrong with the dashboards, a line for each. */
function faults(dashboards) {
  const files = new Map(dashboards.map((one, n) => [path.join(here, `dashboard-${n}.ts`), source(one)]));
  host.getSourceFile = (name, ...rest) => {
    if (files.has(name)) return ts.createSourceFile(name, files.get(name), options.target);
    if (!parsed.has(name)) parsed.set(name, read.call(host, name, ...rest));
    return parsed.get(name);
  };
  const exists = ts.sys.fileExists;
  host.fileExists = (name) => files.has(name) || exists(name);
  const program = ts.createProgram([...files.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map((found) => {
    const at = found.file ? path.basename(found.file.fileName) : "";
    const text = found.file?.text.slice(found.start, found.start + 60) ?? "";
    return `${at}: ${ts.flattenDiagnosticMessageText(found.messageText, "\n  ")}\n  at ${text}`;
  });
}

const names = fs.readdirSync(folder).filter((name) => name.endsWith(".json")).sort();
const dashboards = names.map((name) => JSON.parse(fs.readFileSync(path.join(folder, name), "utf8")));

const plants = {
  "a misspelled member of a dashboard": (d) => { d.timezzone = "utc"; },
  "a misspelled option": (d) => { first(d, "bargauge").options.displayMod = "basic"; },
  "a word outside its enumeration": (d) => { first(d, "stat").options.colorMode = "loud"; },
  "a number where a text belongs": (d) => { first(d, "stat").fieldConfig.defaults.unit = 7; },
  "an unknown drawing style": (d) => { first(d, "timeseries").fieldConfig.defaults.custom.drawStyle = "sketch"; },
  "a link without its members": (d) => { d.links = [{ title: "elsewhere" }]; },
};
const first = (dashboard, type) => dashboard.panels.find((panel) => panel.type === type);

let passed = 0;
let failed = 0;
const verdict = (what, ok, why) => {
  if (ok) passed += 1;
  else { failed += 1; console.error(`${what}: ${why}`); }
};
const overview = dashboards.find((one) => one.uid === "bedrock-meter-overview");
const planted = Object.entries(plants).map(([what, plant]) => {
  const copy = structuredClone(overview);
  plant(copy);
  return [what, copy];
});
const found = faults([...dashboards, ...planted.map(([, copy]) => copy)]);
const of = (number) => found.filter((fault) => fault.startsWith(`dashboard-${number}.ts`));
names.forEach((name, n) => verdict(name, of(n).length === 0, of(n).join("\n")));
planted.forEach(([what], n) => verdict(what, of(names.length + n).length > 0, "was not found"));
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
