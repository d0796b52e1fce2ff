// Markdown as models write it, to DOM nodes. Text only ever becomes text nodes, never markup, so
// nothing that a model says can run: no HTML is parsed here or anywhere on this page.

// Inline: code, bold, italic, strike-through, links to http and https.
const INLINE = new RegExp(
    [
      '(`+)(?<code>[\\s\\S]*?[^`])\\1(?!`)',
      '\\*\\*(?<bold>[^\\s*](?:[\\s\\S]*?[^\\s])?)\\*\\*',
      '~~(?<strike>[^~]+)~~',
      '\\*(?<star>[^\\s*](?:[^*]*[^\\s*])?)\\*',
      '(?<![\\w])_(?<under>[^\\s_](?:[^_]*[^\\s_])?)_(?![\\w])',
      '\\[(?<label>[^\\]]+)\\]\\((?<href>https?://[^\\s)]+)\\)',
      '(?<url>https?://[^\\s<>"\')\\]]+)',
    ].join('|'), 'g');

function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}

function link(href, ...children) {
  const node = element('a', ...children);
  node.href = href;
  node.target = '_blank';
  node.rel = 'noopener noreferrer nofollow';
  return node;
}

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > end) nodes.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    const {code, bold, strike, star, under, label, href, url} = match.groups;
    if (code !== undefined) nodes.push(element('code', code.trim() || code));
    else if (bold !== undefined) nodes.push(element('strong', ...inline(bold)));
    else if (strike !== undefined) nodes.push(element('del', ...inline(strike)));
    else if (star !== undefined) nodes.push(element('em', ...inline(star)));
    else if (under !== undefined) nodes.push(element('em', ...inline(under)));
    else if (label !== undefined) nodes.push(link(href, label));
    else nodes.push(link(url, url));
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

function lines(texts) {
  return texts.flatMap((text, i) => (i === 0 ? inline(text) : [element('br'), ...inline(text)]));
}

function codeBlock(text) {
  const copy = element('button', 'Copy');
  copy.type = 'button';
  copy.addEventListener('click', async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = 'Copied';
    setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
  });
  const block = element('div', element('pre', element('code', text)), copy);
  block.className = 'code';
  return block;
}

const cells = (row) => row.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());

function table(rows) {
  const [head, , ...body] = rows;
  const row = (name, text) => element('tr', ...cells(text).map((c) => element(name, ...inline(c))));
  return element('table', element('thead', row('th', head)),
                 element('tbody', ...body.map((text) => row('td', text))));
}

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

// Items of one list; deeper ones, and lines that belong to an item, are blocks of their own inside.
function list(source) {
  const [, indent, marker] = ITEM.exec(source[0]);
  const node = document.createElement(/\d/.test(marker) ? 'ol' : 'ul');
  if (/\d/.test(marker)) node.start = parseInt(marker, 10);
  let item = [];
  const close = () => { if (item.length) node.append(element('li', ...blocks(item, true))); };
  for (const line of source) {
    const match = ITEM.exec(line);
    if (match && match[1].length <= indent.length + 1) {
      close();
      item = [match[3]];
    } else {
      item.push(line.replace(new RegExp(`^\\s{0,${indent.length + 4}}`), ''));
    }
  }
  close();
  return node;
}

function takeWhile(source, from, belongs) {
  let end = from;
  while (end < source.length && belongs(source[end], end)) ++end;
  return source.slice(from, end);
}

const startsBlock = (line) => line.trim() === '' || FENCE.test(line) || HEADING.test(line) ||
    RULE.test(line) || ITEM.test(line) || QUOTE.test(line);

function blocks(source, tight = false) {
  const nodes = [];
  for (let i = 0; i < source.length;) {
    const line = source[i];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (line.trim() === '') {
      ++i;
    } else if (fence) {
      const body = takeWhile(source, i + 1, (l) => !l.trim().startsWith(fence[1]));
      nodes.push(codeBlock(body.join('\n')));
      i += body.length + 2;
    } else if (heading) {
      nodes.push(element(`h${Math.min(6, heading[1].length + 1)}`, ...inline(heading[2])));
      ++i;
    } else if (RULE.test(line)) {
      nodes.push(element('hr'));
      ++i;
    } else if (ITEM.test(line)) {
      const body = takeWhile(source, i, (l, at) => at === i || ITEM.test(l) || /^\s{2,}\S/.test(l));
      nodes.push(list(body));
      i += body.length;
    } else if (QUOTE.test(line)) {
      const body = takeWhile(source, i, (l) => QUOTE.test(l));
      nodes.push(element('blockquote', ...blocks(body.map((l) => QUOTE.exec(l)[1]))));
      i += body.length;
    } else if (line.includes('|') && TABLE_RULE.test(source[i + 1] ?? '')) {
      const body = takeWhile(source, i, (l) => l.includes('|'));
      nodes.push(table(body));
      i += body.length;
    } else {
      const body = takeWhile(source, i, (l, at) => at === i || !startsBlock(l));
      nodes.push(...(tight ? lines(body) : [element('p', ...lines(body))]));
      i += body.length;
    }
  }
  return nodes;
}

export function render(text) {
  return blocks(text.split('\n'));
}
