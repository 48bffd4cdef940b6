document.querySelectorAll('table').forEach(function (table) {
  var heads = table.querySelectorAll('thead th');
  var units = {'µs': 1e-3, ms: 1, s: 1e3, min: 6e4, h: 36e5};
  function key(row, at) {
    var text = row.cells[at].textContent.trim().replace(/−/g, '-').replace(/,/g, '');
    if (/^\d+ [A-Z][a-z]{2} \d{4}/.test(text)) return Date.parse(text);
    var found = /^[+-]?\d+(\.\d+)?(e\d+)?/.exec(text);
    if (!found) return text;
    var unit = /^\s*(µs|ms|s|min|h)\b/.exec(text.slice(found[0].length));
    return parseFloat(found[0]) * (unit ? units[unit[1]] : 1);
  }
  heads.forEach(function (head, at) {
    var button = document.createElement('button');
    button.type = 'button';
    button.append.apply(button, head.childNodes);
    head.append(button);
    button.addEventListener('click', function () {
      var up = head.getAttribute('aria-sort') !== 'ascending';
      heads.forEach(function (other) { other.removeAttribute('aria-sort'); });
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      var body = table.tBodies[0];
      Array.from(body.rows).sort(function (one, other) {
        var a = key(one, at), b = key(other, at);
        if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1;
        return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
      }).forEach(function (row) { body.append(row); });
    });
  });
});
