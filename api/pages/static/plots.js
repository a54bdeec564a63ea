// Curves and points by Plotly, whose script is loaded only where something is drawn.
import { el } from "./elements.js";

let loading = null;

function loaded() {
  loading ||= new Promise((done, failed) => {
    const script = el("script", { src: document.querySelector('meta[name="plotly"]').content });
    script.onload = () => done(window.Plotly);
    script.onerror = () => failed(new Error("The script that draws could not be loaded."));
    document.head.append(script);
  });
  return loading;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const drawn = new Map(); // by element: what to draw again in other colours

/** A figure for a plot; label says in words what is drawn. */
export function figure(title, label) {
  const plot = el("div", { class: "plot", role: "img", "aria-label": label });
  return [el("figure", {}, el("figcaption", {}, title), plot), plot];
}

/** traces(colors): Plotly's traces; axes: {x, y} of Plotly's layout, and shapes. */
export async function draw(plot, traces, axes) {
  drawn.set(plot, [traces, axes]);
  const Plotly = await loaded();
  const colors = { first: color("accent"), second: color("second"), soft: color("soft"), line: color("line"), text: color("text") };
  const axis = (given) => ({ gridcolor: colors.line, zerolinecolor: colors.line, linecolor: colors.line, automargin: true, ...given, title: { text: given.title, standoff: 8 } });
  const layout = {
    margin: { t: 8, r: 12, b: 40, l: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colors.text, size: 12 },
    legend: { orientation: "h", y: 1.14, x: 0 }, showlegend: true, hovermode: "closest", xaxis: axis(axes.x), yaxis: axis(axes.y), shapes: (axes.shapes || []).map((x) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: colors.line, dash: "dot" } })),
  };
  await Plotly.react(plot, traces(colors), layout, { displayModeBar: false, responsive: true });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(([traces, axes], plot) => draw(plot, traces, axes)));
