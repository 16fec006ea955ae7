// Exact values under a pointer or the arrow keys, in all figures at once. The page is whole without it.
(function () {
  "use strict";
  var data, figures = [], step = null;
  try { data = JSON.parse(document.getElementById("data").textContent); } catch (e) { return; }
  var span = data.last - data.first || 1;

  function text(x) {
    if (x === null || x === undefined) return "–";
    if (Number.isInteger(x)) return String(x).replace(/\B(?=(\d{3})+$)/g, "\u2009");
    return String(x);
  }
  function steps(g, c) {
    var a = g.base + c * g.width, b = Math.min(a + g.width - 1, data.last);
    return b > a ? text(a) + "–" + text(b) : text(a);
  }
  function column(g, at) {
    var c = Math.floor((at - g.base) / g.width);
    return c < 0 || c >= g.n ? -1 : c;
  }
  // The column nearest to `at` in which a sparse row has a value.
  function nearest(g, row, c) {
    for (var d = 0; d < g.n; d++) {
      if (c - d >= 0 && row.last[c - d] !== null) return c - d;
      if (c + d < g.n && row.last[c + d] !== null) return c + d;
    }
    return -1;
  }
  function middle(g, c) { return g.base + c * g.width + (g.width - 1) / 2; }
  function add(to, tag, name, words) {
    var e = document.createElement(tag);
    if (name) e.className = name;
    if (words !== undefined) e.textContent = words;
    to.appendChild(e);
    return e;
  }
  function values(row, i) {
    var s = text(row.last[i]);
    if (row.min && row.min[i] !== row.max[i]) s += " (" + text(row.min[i]) + " to " + text(row.max[i]) + ")";
    return s;
  }
  function place(figure, g, c, value, s) {
    var svg = figure.area.querySelector(figure.log && figure.log.checked ? "svg.v-log" : "svg");
    var low = +svg.dataset.low, high = +svg.dataset.high, isLog = svg.classList.contains("v-log");
    var y = isLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    if (value === null || !isFinite(y)) return;
    var dot = add(figure.over, "span", "dot s" + s);
    dot.style.left = 100 * (middle(g, c) - data.first) / span + "%";
    dot.style.top = 100 * (1 - Math.min(1, Math.max(0, y))) + "%";
  }

  // --- what a figure says of a step
  function curves(figure, at) {
    var names = figure.element.dataset.curves.split(" "), said = false;
    data.runs.forEach(function (run, r) {
      var g = run.curves, c = column(g, at);
      names.forEach(function (name, k) {
        var row = g.of[name], i = c;
        if (!row || c < 0) return;
        if (name === "eval") i = nearest(g, row, c);
        if (i < 0 || row.last[i] === null) return;
        if (!said) add(figure.read, "b", "", "step " + steps(g, c)), figure.read.append("  ");
        said = true;
        var who = data.runs.length > 1 ? figure.titles[r] + " " : "", what = names.length > 1 ? data.names[name] + " " : "";
        var when = name === "eval" ? " at step " + text(row.at[i]) : "";
        add(figure.read, "i", "", who + what + values(row, i) + when);
        place(figure, g, i, row.last[i], data.runs.length > 1 ? r % 8 : k);
      });
    });
  }
  function balance(figure, at) {
    var d = figure.element.dataset, g = data.runs[d.run].moe, rows = g.layers[d.layer].balance, c = column(g, at);
    if (c < 0) return;
    add(figure.read, "b", "", "step " + steps(g, c));
    figure.read.append("  ");
    d.rows.split(" ").filter(function (r, i, all) { return all.indexOf(r) === i; }).forEach(function (r) {
      var i = c * data.balances.length + +r;
      if (rows.last[i] === null) return;
      add(figure.read, "i", "", (d.rows[0] !== d.rows[2] ? data.balances[r] + " " : "") + values(rows, i));
      place(figure, g, c, rows.last[i], 0);
    });
  }
  function load(figure, at) {
    var d = figure.element.dataset, g = data.runs[d.run].moe, l = g.layers[d.layer], c = column(g, at), sum = 0;
    if (c < 0) return;
    for (var e = 0; e < l.experts; e++) sum += l.load.last[c * l.experts + e] || 0;
    var i = c * l.experts + figure.expert;
    add(figure.read, "b", "", "step " + steps(g, c) + ", expert " + figure.expert);
    figure.read.append("  ");
    add(figure.read, "i", "", values(l.load, i) + " tokens");
    if (sum > 0 && l.load.last[i] !== null) add(figure.read, "i", "", (l.load.last[i] * l.experts / sum).toFixed(2) + " × the mean");
    var dot = add(figure.over, "span", "dot s1");
    dot.style.left = 100 * (middle(g, c) - data.first) / span + "%";
    dot.style.top = 100 * (figure.expert + 0.5) / l.experts + "%";
  }

  // --- a step in all figures
  var waiting = false;
  function draw() {
    waiting = false;
    figures.forEach(function (f) {
      f.over.textContent = f.read.textContent = "";
      if (step === null || !f.element.offsetParent) return;
      add(f.over, "span", "cross").style.left = 100 * (step - data.first) / span + "%";
      f.say(f, step);
    });
  }
  function show(s) {
    step = s === null ? null : Math.min(data.last, Math.max(data.first, Math.round(s)));
    if (!waiting) waiting = true, requestAnimationFrame(draw);
  }
  function watch(element) {
    var f = { element: element, plot: element.querySelector(".plot"), area: element.querySelector(".area"),
      read: element.querySelector(".read"), log: element.querySelector(".p-log"), expert: 0, titles: [] };
    element.querySelectorAll(".legend li").forEach(function (li) { f.titles.push(li.textContent); });
    f.over = add(f.area, "div", "over");
    f.over.setAttribute("aria-hidden", "true");
    f.over.style.cssText = "position:absolute;inset:0;pointer-events:none";
    f.say = element.dataset.curves ? curves : element.dataset.rows ? balance : load;
    var experts = f.say === load ? data.runs[element.dataset.run].moe.layers[element.dataset.layer].experts : 1;
    f.area.addEventListener("pointermove", function (e) {
      var box = f.area.getBoundingClientRect();
      f.expert = Math.min(experts - 1, Math.max(0, Math.floor((e.clientY - box.top) / box.height * experts)));
      show(data.first + (e.clientX - box.left) / box.width * span);
    });
    f.area.addEventListener("pointerleave", function () { show(null); });
    f.plot.addEventListener("focus", function () { f.read.setAttribute("aria-live", "polite"); if (step === null) show(data.last); });
    f.plot.addEventListener("blur", function () { f.read.removeAttribute("aria-live"); show(null); });
    f.plot.addEventListener("keydown", function (e) {
      var g = f.say === curves ? data.runs[0].curves : data.runs[element.dataset.run].moe;
      var by = { ArrowLeft: -g.width, ArrowRight: g.width, PageUp: -span / 10, PageDown: span / 10 }[e.key];
      if (by) show((step === null ? data.last : step) + by);
      else if (e.key === "Home") show(data.first);
      else if (e.key === "End") show(data.last);
      else if (e.key === "Escape") show(null);
      else if (f.say === load && (e.key === "ArrowUp" || e.key === "ArrowDown"))
        f.expert = Math.min(experts - 1, Math.max(0, f.expert + (e.key === "ArrowUp" ? -1 : 1))), show(step === null ? data.last : step);
      else return;
      e.preventDefault();
    });
    figures.push(f);
  }
  document.querySelectorAll(".chart,.heat").forEach(watch);
  document.addEventListener("change", function () { show(step); });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll(".experts details").forEach(function (d) { d.open = true; });
  });
})();
