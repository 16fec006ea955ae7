// Appended to a page by tests/browser/report.sh: moves a pointer and presses keys, and writes what the page says into its
// body, for --dump-dom.
(function () {
  "use strict";
  var said = [], data = JSON.parse(document.getElementById("data").textContent), errors = 0;
  window.addEventListener("error", function () { errors++; });
  function frames(then) { requestAnimationFrame(function () { requestAnimationFrame(then); }); }
  function key(plot, name) { plot.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true })); }
  function done() {
    var t = performance.getEntriesByType("navigation")[0];
    said.push("opened " + Math.round(t.domComplete) + " ms", "errors " + errors,
      "wide " + (document.documentElement.scrollWidth > window.innerWidth ? 1 : 0));
    document.body.insertAdjacentHTML("beforeend", "<pre id=probe></pre>");
    document.getElementById("probe").textContent = said.join("\n");
  }
  window.addEventListener("load", function () {
    var figure = document.getElementById("c-loss"), area = figure.querySelector(".area"), box = area.getBoundingClientRect();
    var g = data.runs[0].curves, last = g.of.loss.last[g.n - 1];
    area.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right, clientY: box.top + 9, bubbles: true }));
    frames(function () {
      said.push("pointer " + (figure.querySelector(".read").textContent.indexOf(String(last)) >= 0 ? 1 : 0),
        "crosses " + (document.querySelectorAll(".cross").length === document.querySelectorAll(".chart,.heat").length ? 1 : 0));
      area.dispatchEvent(new PointerEvent("pointerleave"));
      var heat = document.querySelector(".heat"), plot = heat.querySelector(".plot");
      plot.focus();
      key(plot, "Home");
      key(plot, "ArrowDown");
      frames(function () {
        var moe = data.runs[0].moe, l = moe.layers[heat.dataset.layer];
        said.push("keys " + (heat.querySelector(".read").textContent.indexOf("expert 1") >= 0 &&
          heat.querySelector(".read").textContent.replace(/\u2009/g, "").indexOf(String(l.load.last[1])) >= 0 ? 1 : 0));
        document.getElementById("loss-log").click();
        frames(function () {
          said.push("log " + (getComputedStyle(figure.querySelector("svg.v-log")).display === "block" &&
            getComputedStyle(figure.querySelector("svg.v-linear")).display === "none" ? 1 : 0));
          done();
        });
      });
    });
  });
})();
