// Elements of the page; values become attributes and text, never HTML.
'use strict';

const byId = (id) => document.getElementById(id);

const filled = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name, value);
    else if (value != null && value !== false) {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.filter((child) => child != null));
  return node;
};

const el = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  filled(
    document.createElementNS('http://www.w3.org/2000/svg', tag),
    attributes,
    children,
  );

const short = (value) =>
  value == null ? '–' : String(Number(value.toPrecision(4)));

const table = (rows) =>
  el('table', {}, ...rows.map(([name, about, ...values]) =>
    el('tr', {},
      el('th', { scope: 'row', title: about }, name),
      ...values.map((value) =>
        el('td', { title: String(value) },
          typeof value === 'number' ? short(value) : value ?? '–')))));
