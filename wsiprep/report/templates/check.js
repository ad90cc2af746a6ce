(function () {
  "use strict";
  var root = document.documentElement;
  window.addEventListener("error", function (event) { root.dataset.error = String(event.message || "a resource failed"); }, true);
  function layers() {
    document.querySelectorAll("input[data-layer]").forEach(function (box) {
      function apply() { root.classList.toggle("no-" + box.dataset.layer, !box.checked); }
      box.addEventListener("change", apply);
      apply();
    });
  }
  function check() {
    var pictures = Array.from(document.images);
    root.dataset.pictures = String(pictures.length);
    root.dataset.broken = String(pictures.filter(function (p) { return !(p.complete && p.naturalWidth > 0); }).length);
    root.dataset.checked = "yes";
  }
  window.addEventListener("DOMContentLoaded", layers);
  window.addEventListener("load", check);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
})();
