"""Templates that look at every combination of small arguments: where a boundary is one off, one of them tells."""
import itertools


def over(names, body):
    """A template with a loop for each name, around an expression."""
    begin = "".join("{% for " + name + " in " + values + " %}" for name, values in names.items())
    return begin + "{{ " + body + " }};" + "{% endfor %}" * len(names)


SMALL = "[-4, -3, -2, -1, 0, 1, 2, 3, 4]"
WINDOW = {"a": "[-5, -2, -1, 0, 1, 2, 5]", "b": "[-5, -1, 0, 1, 2, 4, 5]"}
INTEGERS = "[0, 1, -1, 7, -10, 2 ** 31, -(2 ** 63), 2 ** 63 - 1, 2 ** 64 + 3, -(10 ** 25)]"
FLOATS = "[0.0, -0.0, 1.0, -2.5, 0.1, 123456.789, 1e16, 1e-5, 9999999.5, 1e300, ('inf' ~ empty)|float, ('-inf' ~ empty)|float, ('nan' ~ empty)|float]"
TEXTS = "['', 'a', 'Ab', 'aB1', '1', ' ', 'a b', '\u00e9', '\u00df', '\u4f60', 'A.', 'a\\nb', '_']"

SYSTEMATIC = [
    over({"a": SMALL, "b": SMALL}, "'abc'[a:b] ~ xs[a:b]|length"),
    over({"a": SMALL, "b": SMALL, "c": "[-3, -2, -1, 1, 2, 3]"}, "'abcd'[a:b:c]"),
    over({"c": "[-3, -2, -1, 1, 2, 3]", "a": SMALL}, "'abcd'[a::c] ~ '|' ~ 'abcd'[:a:c]"),
    over({"w": "['', 'a', 'b', 'ab', 'ba', 'x']", **WINDOW},
         "'abab'.find(w, a, b) ~ ',' ~ 'abab'.rfind(w, a, b) ~ ',' ~ 'abab'.count(w, a, b)"),
    over({"w": "['', 'a', 'ab', 'b', 'abab', 'ababa']", **WINDOW},
         "('abab'.startswith(w, a, b), 'abab'.endswith(w, a, b))"),
    over({"w": "['', 'a', 'b', 'ab', 'aa']", "c": "[-1, 0, 1, 2, 9]"}, "'aabab'.replace(w, '-', c)"),
    over({"w": "['a', 'b', 'ab', 'x']", "t": "['', 'a', 'ab', 'bab', 'xx']"}, "t.partition(w) ~ t.rpartition(w)"),
    over({"w": "['', 'a', 'ab', 'bab']", "t": "['', 'a', 'ab', 'bab', 'abab']"},
         "(t.removeprefix(w), t.removesuffix(w), t.strip(w), t.lstrip(w), t.rstrip(w))"),
    over({"t": "['', 'a', '-7', '+7', 'ab', '\u00e9']", "n": "[-1, 0, 1, 2, 3, 4, 5]"},
         "(t.zfill(n), t.center(n, '*'), t.ljust(n, '.'), t.rjust(n), t|center(n))"),
    over({"t": TEXTS}, "(t.upper(), t.lower(), t.title(), t.swapcase(), t.capitalize(), t|title, t|capitalize)"),
    over({"t": TEXTS}, "(t.isalpha(), t.isdigit(), t.isalnum(), t.isspace(), t.isupper(), t.islower(), "
         "t.istitle(), t.isidentifier(), t.isprintable(), t.isascii(), t.isdecimal(), t.isnumeric())"),
    over({"t": "['', '\\n', 'a\\n', '\\na', 'a\\r\\nb', 'a\\r\\rb', 'a\\x0bb\\x0cc\\x1cd\\x85e\\u2028f']"},
         "(t.splitlines(), t.splitlines(true))"),
    over({"t": "['', 'a\\tb', '\\ta', 'abc\\td', 'a\\n\\tb']", "n": "[-1, 0, 1, 2, 3, 8]"}, "t.expandtabs(n)"),
    over({"a": INTEGERS, "b": INTEGERS}, "(a + b, a - b, a * b, a < b, a <= b, a > b, a >= b, a == b, a != b)"),
    over({"a": INTEGERS, "b": "[1, -1, 3, -7, 2 ** 32, -(2 ** 63), 10 ** 20]"}, "(a // b, a % b, a / b)"),
    over({"a": "[0, 1, -1, 2, -3, 10, 2 ** 40]", "b": "[0, 1, 2, 3, 5, 20]"}, "a ** b"),
    over({"a": "[-7, -2, 0, 1, 7, 2.5, -2.5, 1e16]", "b": "[-3, 2, 0.5, -2.5]"}, "(a // b, a % b, a / b, a * b)"),
    over({"a": "[none, true, false, 0, 1, 1.0, 'a', '', [], [1], (), {}, {'a': 1}, xs]",
          "b": "[none, true, 1, 1.0, 'a', [1], (), {'a': 1}]"}, "(a == b, a != b, a in [b], a and b, a or b, not a)"),
    over({"a": FLOATS}, "(a, a|string, -a, a|abs, [a])"),
    over({"a": "[0, 5, -5, 15, 25, 0.5, 1.5, -2.5, 2.675, 1234.5678]", "p": "[-3, -2, -1, 0, 1, 2, 3]"},
         "(a|round(p), a|round(p, 'floor'), a|round(p, 'ceil'))"),
    over({"t": "['0', '-12', ' 7 ', '1_0', '1__0', '_1', '0x1f', '0b11', '0o17', 'ff', 'z', '', '+3', '3.9', '1e2']",
          "b": "[0, 2, 8, 10, 16, 36]"}, "t|int(-1, b)"),
    over({"t": "['0', '-1.5', ' 2. ', '.5', '1e3', '1_0.5', 'nan', 'inf', '-Infinity', 'x', '', '1e', '0x1']"},
         "(t|float, t|float(9.5), t|int)"),
    over({"n": "[0, 1, 2, 999, 1000, 1001, 999949, 999950, 999999, 1000000, 1023, 1024, 1048575, 1048576, 10 ** 15]"},
         "(n|filesizeformat, n|filesizeformat(true))"),
    over({"n": "[0, 1, 2, 3, 4, 5, 6, 9]", "k": "[true, false]", "l": "[0, 1, 2]"},
         "'ab cd ef'|truncate(n, k, '', l) if n >= 0 else ''"),
    over({"n": "[3, 4, 5, 6, 7]", "k": "[true, false]", "l": "[0, 1, 5]"}, "'ab cd ef'|truncate(n, k, '...', l)"),
    over({"n": "[1, 2, 3, 5, 8, 20]", "k": "[true, false]", "h": "[true, false]"},
         "'a bc-de  fghij\\n\\nk-l'|wordwrap(n, k, '|', h)"),
    over({"n": "[0, 1, 3]", "f": "[true, false]", "k": "[true, false]"}, "'a\\n\\nb\\n'|indent(n, f, k)"),
    over({"n": "[1, 2, 3, 4, 5, 7]"}, "([1, 2, 3, 4, 5]|batch(n)|list, [1, 2, 3, 4, 5]|batch(n, 0)|list, "
         "[1, 2, 3, 4, 5]|slice(n)|list, [1, 2, 3, 4, 5]|slice(n, 0)|list)"),
    over({"a": "[0, 1, 3, -2]", "b": "[-3, 0, 2, 4]", "c": "[-2, -1, 1, 3]"},
         "(range(a, b, c)|list, range(a, b, c)|length)"),
    over({"a": "[0, 1, 3]", "b": "[0, 4]", "c": "[-1, 0, 1, 2, 3, 4]"}, "(c in range(a, b), range(a, b)|last is defined)"),
    over({"c": "[true, false]", "r": "[true, false]"},
         "(['b', 'A', 'a', 'B', 'c']|sort(r, c), {'b': 2, 'A': 3, 'a': 1}|dictsort(c, 'key', r), "
         "{'b': 2, 'A': 3, 'a': 1}|dictsort(c, 'value', r), ['b', 'A', 'a', 'B']|unique(c)|list, "
         "['b', 'A', 'a']|min(c), ['b', 'A', 'a']|max(c), people|sort(r, c, 'city,age')|map(attribute='name')|list)"),
    over({"t": "['odd', 'even', 'true', 'false', 'none', 'number', 'integer', 'float', 'string', 'boolean', "
          "'mapping', 'sequence', 'iterable', 'defined', 'undefined', 'callable']"},
         "[[1, 2, 2.0]|select('number')|list, [1, 2, 'a', none, true, 2.0, [], {}]|select(t)|list "
         "if t not in ['odd', 'even'] else [1, 2]|select(t)|list]"),
    over({"n": "[1, 2, 7, 10]", "m": "[1, 2, 5, 7]"},
         "(n is divisibleby m, n is odd, n is even, n is gt m, n is ge m, n is lt m, n is le m, n is eq m, n is ne m)"),
    over({"i": "['d', '5d', '<5d', '>5d', '^5d', '=5d', '05d', '+d', ' d', '+05d', '*^7d', ',', '_', '010,', 'x', "
          "'X', '#x', '#X', '#o', '#b', '#010x', '_x', 'o', 'b', 'e', '.2f', '.0f', 'g', '%', 'n', '5', '<05', '^07d', '0>5', '012,d', '09_', '', '#08x', '#012_x', '011_b']",
          "v": "[0, 7, 65, 123, 1234, 123456, 1234567]"}, "('{:' ~ i ~ '}').format(v)"),
    over({"i": "['d', '+05d', '=7d', '08,', '#012x', 'x', '_b', '+.1f', ' .1e', '<9,', '^+9d']",
          "v": "[-1, -42, -123, -123456, -1234567, 2 ** 70, -(2 ** 70)]"}, "('{:' ~ i ~ '}').format(v)"),
    over({"i": "['', 'f', '.0f', '.3f', '#.0f', 'e', '.0e', '#.0e', '.4e', 'E', 'g', '.3g', '#.3g', 'G', '%', '.1%', "
          "'10.2f', '<10.2f', '^10.2f', '=+10.2f', '010.2f', ',.2f', '_.1f', '+', ' ', '.3', '.17', '012,.1f', '<08.1f', '012,.1%']",
          "v": "[0.0, -0.0, 1.0, -2.5, 0.00012345, 123456.789, 1e16, 1.5e-7, ('inf' ~ empty)|float, ('nan' ~ empty)|float]"}, "('{:' ~ i ~ '}').format(v)"),
    over({"p": "[0, 1, 2, 3, 17]", "v": "[0.0, 5.0, 10.0, 12.0, 100.0, 120.0, 999.0, 1e16, 0.5]"}, "('{:.' ~ p ~ '}').format(v)"),
    over({"i": "['', '5', '<5', '>5', '^5', '^6', '*<5', '.2', '.0', '6.2', '*^7.3', 's', '5s', '05', '\u00e9>5']",
          "v": "['', 'a', 'abcd', '\u4f60\u597d']"}, "('{:' ~ i ~ '}').format(v)"),
    over({"i": "['%d', '%5d', '%-5d', '%05d', '%+d', '% d', '%.3d', '%8.3d', '%-8.3d', '%08.3d', '%x', '%#x', '%#X', "
          "'%#o', '%5x', '%-#8x', '%#08x', '%i', '%u', '%s', '%r', '%.1s', '%5.2s', '%c', '%3c', '%-3c']",
          "v": "[0, 7, 65, 1234]"}, "i % v"),
    over({"i": "['%d', '%05d', '%-6d', '%+.4d', '%x', '%#x', '%#08x', '%f', '%.1f', '%e', '%g', '%s', '%08.2f']",
          "v": "[-1, -77, -(2 ** 65), 2 ** 65]"}, "i % v"),
    over({"i": "['%f', '%.0f', '%#.0f', '%.2f', '%8.2f', '%-8.2f', '%08.2f', '%+.1f', '% .1f', '%e', '%.0e', '%#.0e', "
          "'%.3E', '%g', '%.3g', '%#.3g', '%G', '%s', '%r', '%010.3g']",
          "v": "[0.0, -0.0, 1.0, -2.5, 0.00012345, 123456.789, 1e16, 1e-7, ('inf' ~ empty)|float, ('-inf' ~ empty)|float]"}, "i % v"),
    over({"e": "['amp', 'lt', 'gt', 'quot', 'apos', '#65', '#x41', '#X4a', '#0065', '#38', '#60', '#169', '#8364', "
          "'#128512', '#x1F600', 'bogus', '#', '#x', '#xg', '', '#00000065', '#xD7FF', '#xE000', '#xD800', '#xDFFF', '#0', '#x110000', '#1114112', '#x0041', '#X']"}, "('[&' ~ e ~ ';]')|striptags"),
    over({"t": "['<b>', '<b', 'a>b', '<!--x-->', '<!-- > -->y', '<!--', 'a < b > c', '<a href=\">\">z', '<>', '< b>q']"},
         "('1 ' ~ t ~ ' 2')|striptags"),
    over({"t": "['&', '<', '>', '\"', \"'\", 'a&b<c', '&amp;']"}, "(t|e, t|e|e, t|forceescape, t|safe|e, t|urlencode, t|tojson)"),
    over({"t": "['\\\\', '\\n', '\\r', '\\t', '\\b', '\\f', '\\x00', '\\x1f', '\\x7f', '\\x80', '\\xad', '\\u2028', '\\ud7ff', "
          "'\\U0001f600', '\"', \"'\", '/']"}, "(t|tojson, t|tojson(ensure_ascii=true), [t], t|urlencode)"),
    over({"v": "[none, true, 1, 1.5, 'a', [], [1], {}, {'a': 1}, [[]], [{}], {'a': []}, {'a': {'b': [1, 2]}}]",
          "i": "[none, 0, 1, 3]"}, "v|tojson(indent=i)"),
    over({"v": "[[], [[]], {}, {'a': {}}, (), (1,), ((),), [1, [2, [3]]], 'x', 1.5, none, 2 ** 70]"}, "(v|pprint, v|string, [v])"),
    over({"n": "[1, 2, 5, 6, 7, 8, 10, 12, 20, 40]"},
         "(['abcdefgh'] * n)|pprint ~ '\\n' ~ ({'k' * n: ['v' * n] * 3, 'l': (n,) * n})|pprint"),
    over({"n": "[1, 20, 60, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82]"},
         "('a' * n)|pprint ~ '\\n' ~ ['a' * n]|pprint ~ '\\n' ~ {'k': 'a b ' * (n // 4)}|pprint"),
    over({"a": "['name', 'age', 'city', 'nick', 'name.0']"},
         "(people|map(attribute=a)|list|length, people|map(attribute=a, default='?')|list, "
         "people|groupby(a, default='~')|map('first')|list, people|join('/', a))"),
    over({"a": "['x', 'x.y', 'x.y.z', 'x.q', 'q']"}, "[nested]|map(attribute=a, default=0)|list"),
    over({"a": "['0', '1', '1.0', '2', '-1']"}, "[[1, [2, 3]]]|map(attribute=a, default='?')|list"),
    over({"m": "['get', 'items', 'keys', 'values', 'nope', 'upper']"}, "(d|attr(m) is defined, 's'|attr(m) is defined, d[m] is defined)"),
    "{% for a in [[1], [1, 2], [1, 2, 3]] %}{% for x in a %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}"
    "{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}"
    "{{ loop.cycle(1, 2) }}{{ loop.previtem|d('-') }}{{ loop.nextitem|d('-') }};{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }}{{ loop.changed(x, loop.first) }}{{ loop.changed() }};{% endfor %}",
    "{% for x in tree recursive %}{{ x.n }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.index }}{{ loop.length }}"
    "({{ loop(x.c) }}){% else %}-{% endfor %}",
    "{% set c = cycler(1, 2, 3) %}{% for i in range(7) %}{{ c.current }}{{ c.next() }}{% if i == 4 %}{% set _ = c.reset() %}"
    "{% endif %}{% endfor %}",
]
# Where a block stands decides which white space goes: every sign on every side, in several surroundings.
for left, right in [(a, b) for a in ("", "-", "+") for b in ("", "-", "+")]:
    for tag, end in (("{%" + left + " set q = 1 " + right + "%}", ""),
                     ("{%" + left + " if t " + right + "%} x ", "{%" + right + " endif " + left + "%}"),
                     ("{#" + left + " c " + right + "#}", "")):
        SYSTEMATIC.append("|".join(before + tag + end + after for before in ("a ", "a\n  ", "a\n\n\t", " ")
                                   for after in (" b", "\n b", " \n\n b", "\r\nb", "b")))
for left, right in [(a, b) for a in ("", "-") for b in ("", "-")]:
    SYSTEMATIC.append("a \n {{" + left + " n " + right + "}} \n b {{" + left + " n " + right + "}}\n")
    SYSTEMATIC.append("a \n {%" + left + " raw " + right + "%} \n {{ x }} \n {%" + left + " endraw " + right + "%} \n b")
# Numbers and what may stand behind them.
for number in ("1", "10", "1_0", "0", "00", "0x1f", "0X_1F", "0b10", "0o7", "1.5", "1.0e5", "1e5", "1E-5", "1e+5",
               "1_0.0_1", "1.5e", "1.", ".5", "1..5", "1__0", "_1", "0x", "0b2", "01", "1e", "1.x", "1.5.x"):
    SYSTEMATIC.append("{{ " + number + " }}")
    SYSTEMATIC.append("{{ [" + number + ", 2] }}")
# Escapes in literals.
for escape in ("\\a", "\\b", "\\f", "\\n", "\\r", "\\t", "\\v", "\\\\", "\\'", "\\\"", "\\0", "\\7", "\\101", "\\777", "\\8", "\\x41",
               "\\x4", "\\xg1", "\\u0041", "\\u004", "\\U0001f600", "\\U0011ffff", "\\q", "\\\n"):
    SYSTEMATIC.append("{{ '[" + escape + "]' }}")
    SYSTEMATIC.append("{{ ('[' ~ \"" + escape + "A\")|tojson }}")
# Arguments of calls in every order.
ARGUMENTS = ("1", "a=2", "*xs", "**nested")
for arguments in [list(some) for count in (1, 2, 3) for some in itertools.product(ARGUMENTS, repeat=count)]:
    SYSTEMATIC.append("{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(" + ", ".join(arguments) + ") }}")
