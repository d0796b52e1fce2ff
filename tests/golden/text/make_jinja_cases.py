"""Writes jinja_cases.json: small templates with what jinja2 makes of each.

    python make_jinja_cases.py > jinja_cases.json      (jinja2 3.1.6)
"""
import json
import sys

from jinja_combinations import SYSTEMATIC
from jinja_env import make_environment, render

CONTEXT = {
    "s": "Hello, World", "empty": "", "uni": "h\u00e9llo \u4f60\u597d \U0001f600", "n": 7, "neg": -3, "zero": 0,
    "f": 2.5, "t": True, "no": None, "xs": [3, 1, 2], "words": ["beta", "Alpha", "gamma"],
    "d": {"a": 1, "b": [1, 2], "items": "shadow", "c d": None}, "nested": {"x": {"y": {"z": "deep"}}},
    "people": [{"name": "Ann", "age": 31, "city": "Oslo"}, {"name": "bob", "age": 27, "city": "Rome"},
               {"name": "Cy", "age": 31, "city": "Oslo", "nick": "C"}],
    "tree": [{"n": "a", "c": [{"n": "b", "c": []}, {"n": "c", "c": [{"n": "d", "c": []}]}]}],
    "html": "<a href=\"x\">T'&</a>", "lines": "one\ntwo\n\nthree", "ctrl": "a\tb\x01\x7f\u200b\u2028",
}

# Expressions, printed.
EXPRESSIONS = r"""
1
-1
1.0
1.5e3
1e16
1e-5
123456789012345680.0
0.1 + 0.2
1/3
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
2 ** 0.5
-2 ** 2
2 ** 3 ** 2
1 + 2 * 3
(1 + 2) * 3
10 - 2 - 3
100 / 10 / 2
1_000_000
0x1F
0o17
0b101
1 == 1.0
1 == true
'1' == 1
true + true
n / 2
n / zero
n % zero
n // zero
f * 2
s + 1
1 + s
s * 2
2 * s
xs * 2
xs + [9]
xs + (1,)
(1, 2) + (3,)
-s
+n
+s
not n
not not s
s ~ n ~ none
s ~ undefined_thing ~ 1
1 ~ 2 + 3
1 + 2 ~ 3
'a' 'b'
"q\"uote"
'it\'s'
'tab\tnew\nline'
'\x41\u4f60\U0001f600\101'
'back\\slash \d'
none
None
true
True
false
s
uni
xs
words
d
people[0]
[]
()
{}
(1,)
(1, 2)
[1, 'a', 2.0, none, true, [1], {'k': 'v'}]
{'a': {'b': {}}}
{1: 'int', 1.5: 'float', none: 'none', 'x': 1}
{1: 'a', true: 'b'}
['it\'s', 'q"q', 'both\'"', 'nl\n', '\x00\x7f\xa0\u200b\ud7ff', '\u4f60']
[ctrl]
s[0]
s[-1]
s[100]
s[1:3]
s[:5]
s[-5:]
s[::2]
s[::-1]
s[5:1:-1]
s[10:2]
s[::0]
uni[1]
uni[6:8]
uni[-1]
xs[0]
xs[-1]
xs[5]
xs[5] is defined
xs[1:]
xs[:-1]
xs[::-1]
xs[100:]
xs['a']
xs.0
xs.length
d.a
d['a']
d.missing
d['missing']
d['missing'] is defined
d.missing.more
d['c d']
d.items()|list|length
d['items']
nested.x.y.z
nested['x'].y['z']
nested.nope.z
no.thing
no['thing']
n.thing
undefined_thing
undefined_thing.attr
undefined_thing['k']
undefined_thing()
undefined_thing + 1
undefined_thing == undefined_other
undefined_thing == none
undefined_thing < 1
'a' in undefined_thing
undefined_thing in xs
undefined_thing in 'abc'
undefined_thing|length
undefined_thing|default('dflt')
undefined_thing|d
empty|default('dflt')
empty|default('dflt', true)
no|default('dflt')
no|default('x', boolean=true)
d.missing|default('m')
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2 != 1
1 < 'a'
'a' < 'b'
'Z' < 'a'
[1, 2] < [1, 3]
(1, 2) == [1, 2]
[1, 2] == [1, 2.0]
{'a': 1} == {'a': 1.0}
none == none
none < 1
1 in xs
9 not in xs
'World' in s
1 in s
'a' in d
'z' not in d
1 in 5
n if t else 'x'
'x' if zero
'x' if zero else 'y' if no else 'z'
t and s
no or s
zero or empty or 'last'
t and no and s
not t or n
1 is defined
s is string
n is number
t is number
t is integer
t is boolean
f is float
n is integer
xs is sequence
s is sequence
xs is iterable
n is iterable
d is mapping
d is iterable
undefined_thing is undefined
undefined_thing is not defined
undefined_thing is iterable
no is none
no is not none
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
s is lower
'abc' is lower
'ABC' is upper
n is eq 7
n is equalto(7)
n is ne 7
n is gt 5
n is greaterthan(9)
n is lt 9
n is ge 7
n is le 6
n is in xs
1 is in [1]
1 is sameas 1
xs is sameas xs
t is true
t is false
1 is true
range is callable
s is callable
s is filter
'upper' is filter
'even' is test
n is odd and t
n is odd or s is string
s|upper
s|lower
s|length
uni|length
xs|length
d|length
n|length
xs|count
s|title
"they're bill's friends-and foes"|title
s|capitalize
'  pad '|trim
'xxpadx'|trim('x')
s|replace('l', 'L')
s|replace('l', 'L', 1)
s|replace('', '-')
xs|first
xs|last
[]|first
[]|last
[]|first is defined
s|first
s|last
xs|sort
xs|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
people|sort(attribute='age')|map(attribute='name')|join(',')
people|sort(attribute='age,name', reverse=true)|map(attribute='name')|join(',')
[1, 'a']|sort
xs|reverse|list
s|reverse
xs|sum
[1.5, 2]|sum
people|sum(attribute='age')
[[1], [2]]|sum(start=[])
['a']|sum
xs|max
xs|min
words|max
words|min(case_sensitive=true)
[]|max
people|max(attribute='age')
xs|join
xs|join(', ')
words|join(' & ')
people|join(', ', attribute='name')
[1, none, 'x', 2.0]|join('|')
xs|map('string')|list
words|map('upper')|join(' ')
words|map('replace', 'a', '4')|list
people|map(attribute='nick', default='-')|list
people|map(attribute='nick')|list
people|map(attribute='name')|map('lower')|list
people|selectattr('nick')|map(attribute='name')|list
people|selectattr('age', 'gt', 30)|map(attribute='name')|list
people|selectattr('city', 'equalto', 'Oslo')|list|length
people|rejectattr('city', 'eq', 'Oslo')|map(attribute='name')|list
people|selectattr('nick', 'defined')|list|length
xs|select('odd')|list
xs|reject('odd')|list
xs|select|list
[0, 1, '', 'a', none]|select|list
xs|select('gt', 1)|list
xs|unique|list
['b', 'A', 'a', 'B']|unique|list
['b', 'A', 'a']|unique(case_sensitive=true)|list
people|groupby('city')
people|groupby('age')|map('first')|list
[1,2,3,4,5]|batch(2)|list
[1,2,3,4,5]|batch(2, 'x')|list
[1,2,3,4,5]|slice(3)|list
[1,2,3,4,5]|slice(3, 0)|list
s|list
d|list
d|dictsort
{'b': 1, 'A': 2}|dictsort(true)
{'b': 1, 'A': 2}|dictsort(by='value', reverse=true)
d|items|list
undefined_thing|items|list
'42'|int
'x'|int
'x'|int(5)
'3.7'|int
3.9|int
'ff'|int(base=16)
'0x1A'|int(0, 16)
' 12 '|int
none|int
t|int
'3.5'|float
'x'|float
'1e3'|float
n|float
neg|abs
-2.5|abs
2.5|round
3.5|round
2.567|round(2)
2.567|round(1, 'floor')
2.561|round(1, 'ceil')
42|round
1234|round(-2)
-2.5|round
1e18|int
n|string + 'x'
f|string
html|e
html|escape
html|safe
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, true, true)
lines|indent('> ')
'a b c d e f'|truncate(7)
'a b c d e f'|truncate(7, true)
'a b c d e f g'|truncate(7, true, '!', 0)
'short'|truncate(10)
'ab'|center(7) ~ '|'
'abc'|center(8) ~ '|'
'one two,three-four'|wordcount
'%s is %d and %.2f'|format('x', 3, 2.5)
'%(a)s'|format(a=1)
'%5d|%-5s|%05.1f|%x'|format(3, 'ab', 2.25, 255)
'%s'|format
'%s %s' % (1, 2)
'%s' % 'x'
'%d%%' % 5
'a b&c/d?'|urlencode
{'a b': 'c&d'}|urlencode
d|attr('a')
d|attr('get') is callable
d|tojson
uni|tojson
uni|tojson(ensure_ascii=true)
html|tojson
[1, 2.0, 1e16, none, true, 'x']|tojson
{}|tojson
[]|tojson
{'a': [], 'b': {}}|tojson(indent=2)
people|tojson(indent=2)
people[0]|tojson(indent=0)
people[0]|tojson(indent='\t')
people[0]|tojson(separators=(',', ':'))
people[0]|tojson(indent=1, separators=(', ', ' : '))
{'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true)
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
(1, 2)|tojson
ctrl|tojson
ctrl|tojson(ensure_ascii=true)
undefined_thing|tojson
range|tojson
s.upper()
s.lower()
s.title()
s.swapcase()
s.capitalize()
s.split()
s.split(',')
s.split(', ')
s.split('l', 1)
s.rsplit('l', 1)
'  a  b '.split()
'a  b c'.split(none, 1)
' a  b c '.rsplit(none, 1)
'a,b,,c'.split(',')
s.split('')
s.split('</think>')[-1]
lines.splitlines()
'a\r\nb\rc\n'.splitlines()
'a\nb\n'.splitlines(true)
'  x '.strip() ~ '|'
'  x '.lstrip() ~ '|'
'  x '.rstrip() ~ '|'
'xyxax'.strip('xy')
'\n\nx\n'.lstrip('\n')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.endswith('ld')
s.startswith('llo', 2)
s.startswith(1)
s.find('World')
s.find('nope')
s.rfind('o')
s.index('W')
s.index('nope')
uni.find('\u597d')
s.count('l')
s.replace('o', '0')
s.replace('o', '0', 1)
', '.join(words)
', '.join(xs)
'x'.join('abc')
s.isdigit()
'123'.isdigit()
'abc'.isalpha()
'a1'.isalnum()
' \t'.isspace()
'ABC'.isupper()
'Ab'.isupper()
'abc1'.islower()
'7'.zfill(3)
'-7'.zfill(4)
'ab'.center(5, '*')
'ab'.ljust(4, '.')
'ab'.rjust(4)
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
'{} and {}'.format(1, 'x')
'{0}{1}{0}'.format('a', 'b')
'{name}!'.format(name='N')
'{{}}'.format()
s.nope
s.nope()
d.get('a')
d.get('zz')
d.get('zz', 'dflt')
d.keys()|list
d.values()|list
d.items()|list
nested.items()|list
nested.keys()|first
nested.copy()
xs.index(1)
xs.index(99)
xs.count(1)
xs.append(4)
xs.pop()
xs.append is defined
d.update({'x': 1})
d.pop('a')
range(3)|list
range(1, 4)|list
range(5, 0, -2)|list
range(0)|list
range(1, 2, 0)
range(1000000)
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('k', 'v')])
namespace(a=1).a
namespace(a=1).b
namespace(a=1)
joiner('x') is callable
raise_exception('boom')
raise_exception('bad role: ' ~ s)
strftime_now('%d %b %Y')
strftime_now('%Y-%m-%d %H:%M:%S')
strftime_now('%A %B %j %f %%')
s|nofilter
s is notest
s()
n()
none()
'abc'|upper|lower|title
('a', 'b')[1]
[1,2,3][1:][0]
{'a': [1, {'b': 2}]}.a[1].b
{'a': [1, {'b': 2}]}['a'][-1]['b']
'a' if 'b' in 'abc' else 'c'
[1, 2, 3,]
{'a': 1,}
xs[n - 6]
d[['a']]
words[0][0]|upper ~ words[0][1:]
(s|length > 5) and (n == 7)
s|length > 5
s|length + 1
-n|abs
- 5 + 3
not 1 == 2
n not in [1, 2] and t
1.0
100.0 * 3
1e100
-0.0
3.14159265358979
1.0e-4
0.00001
5.0e-324
1.7976931348623157e308
9007199254740993
[1.0, -0.0, 1e22]
1, 2
xs, s
loop
loop.index
'\u00df'|upper
'\u0130'|lower
'\u01c4x'.lower()
'\u03a3'.lower()
uni|upper
uni.title()
no|select|list
no|map('upper')|list
zero|selectattr('x')|list
no|batch(2)|list
xs|select('gt', 9) is iterable
xs|select is sequence
xs|map('string')|length
(xs|map('string'))[0]
(xs|map('string'))[1:]
(xs|map('string')).nope
xs|map('string')|last
xs|map('string')|first
xs|map('string')|reverse|list
xs|reverse|first
xs|reverse|last
2 in xs|select
'yes' if people|selectattr('name', 'equalto', 'nobody') else 'no'
'yes' if undefined_thing|select else 'no'
d|items|tojson
xs|select|join('-') ~ xs|reject('odd')|sum ~ xs|unique|sort
n|indent
no|indent
undefined_thing|indent
n|truncate
xs|truncate(5)
undefined_thing|truncate
f is odd
2.0 is even
f is divisibleby(2.5)
s is odd
undefined_thing is callable
'{:d}'.format(7)
'{i:d}'.format(i=7)
'{:5}|{:<5}|{:>5}|{:^5}|'.format(7, 7, 7, 7)
'{:05d} {:+d} {: d} {:-d}'.format(42, 42, 42, -42)
'{:*^9}'.format('ab')
'{:\u00e9>4}'.format('x')
'{:,} {:_} {:,.2f}'.format(1234567, 1234567, 1234567.891)
'{:x} {:X} {:o} {:b} {:#x} {:#b} {:#o}'.format(255, 255, 8, 5, 255, 5, 8)
'{:c}'.format(65)
'{:.2f} {:.0f} {:e} {:.3e} {:g} {:G}'.format(3.14159, 2.5, 12345.678, 0.00012, 1e-7, 1e20)
'{:%} {:.1%}'.format(0.25, 0.333)
'{:.3} {:.10}'.format(3.14159, 2.0)
'{:8.3f}|{:<8.3f}|{:08.3f}|{:+.1f}'.format(1.5, 1.5, -1.5, 1.5)
'{:.2}|{:5.2}|{:5}'.format('abc', 'abc', 'abc')
'{:f} {:e}'.format(3, 3)
'{:5}|{}'.format(true, true)
'{:d}'.format(2.5)
'{:d}'.format('x')
'{:s}'.format(3)
'{:q}'.format(3)
'{:=5}'.format('a')
'{:+}'.format('a')
'{:5}'.format(none)
'{}'.format(none)
'{:>3}'.format([1])
'{0} {1} {0}'.format(1, 2)
'{} {0}'.format(1)
'{0} {}'.format(1)
'{!r} {!s}'.format('a', 'b')
'{!r:>6}'.format('a')
'{!x}'.format('a')
'{a[0]} {a[1]}'.format(a=xs)
'{d[a]} {d.a}'.format(d=d)
'{0.a}'.format(nested)
'{:{}}|'.format('a', 5)
'{:{w}.{p}f}'.format(2.71828, w=8, p=2)
'{{}} {}'.format(1)
'{'.format()
'}'.format()
'{a'.format(a=1)
'{}'.format()
'{x}'.format(a=1)
'{:.}'.format(1.5)
'{:1.2.3}'.format(1.5)
'{:inf}'.format(1)
'%c' % 65
'%c|%3c' % ('x', 'y')
'%c' % 'xy'
'%c' % 1114112
'Hello World'.istitle()
'Hello world'.istitle()
''.istitle()
'A1b'.istitle()
'A1B'.istitle()
'abc\n'.isprintable()
'abc'.isprintable()
''.isprintable()
'a\tb\tc'.expandtabs()
'a\tb\nccc\td'.expandtabs(4)
'a\tb'.expandtabs(0)
html|striptags
'<p>a  b</p> <!-- x > y --> c &amp; d &#65; &lt;'|striptags
'a < b'|striptags
{'a': 1, 'b': none, 'c': '<"x">', 'd': undefined_thing}|xmlattr
{'a': 1}|xmlattr(false)
{}|xmlattr
{'a b': 1}|xmlattr
1|filesizeformat
999|filesizeformat
1000|filesizeformat
1234567|filesizeformat
1234567|filesizeformat(true)
1023|filesizeformat(true)
1e25|filesizeformat
'2048'|filesizeformat
'<b>'|safe + '<i>'
'<i>' + '<b>'|safe
'<b>'|safe ~ '<i>'
('<b>'|safe)|safe is escaped
'<b>' is escaped
html|e is escaped
html|e|e
html|e|forceescape
html|safe|string is escaped
'<%s>'|safe % '<'
'<%s %r %d %5s>'|safe % ('<', '<', 3, '&')
'<%(a)s>'|safe % {'a': '<'}
'<%c>'|safe % 65
'%s' % '<'|safe
'<%s>'|safe|format('<')
'<{}{x}{}>'.format('<', html|safe, x='&')
('<{}{x}{}>'|safe).format('<', html|safe, x='&')
('{:5}|{!r}'|safe).format('<', '<')
('{:5}'|safe).format(html|safe)
[html|safe, '<'|e]
{'a'|safe: 1}['a']
('<,>'|safe).split(',')
('<,>'|safe).split(',')[0] + '<'
('<,>'|safe).partition(',')[2] + '<'
('<'|safe).join(['<', 1, '&'|safe])
'<'.join(['<', '&'|safe]) + '<'
['<', '&'|safe]|join('<'|safe) + '<'
('<a'|safe).replace('a', '<') + '<'
'<a'|safe|replace('a', '<') + '<'
('<'|safe).ljust(3, '<')
('<'|safe).center(3) + '<'
('<'|safe).upper() + '<'
'<a'|safe|upper + '<'
'<a'|safe|title + '<'
' <a '|safe|trim + '<'
'<a'|safe|capitalize + '<'
'<a'|safe|center(6) + '<'
'<a\nb'|safe|indent('<') + '<'
'<aaaa bbbb ccc'|safe|truncate(9, false, '<', 0)
'<aaaa bbbb ccc'|truncate(9, false, '<'|safe, 0)
('<ab'|safe)[1:] + '<'
('<ab'|safe)[0] + '<'
'<ab'|safe|first + '<'
'<ab'|safe|reverse + '<'
'<ab'|safe|list|first + '<'
('<'|safe) * 2 + '<'
2 * ('<'|safe) + '<'
'<'|safe + 1
1 + '<'|safe
1|safe + '<'
undefined_thing|safe + '<'
'<' in '<b'|safe
'<'|safe == '<'
'<'|safe|tojson
{'a': '<'|safe}|xmlattr
{'a': '<'|safe, 'b': '<'}|items|list
'<'|safe is string
'<'|safe|length
"call "|safe + people[0]|tojson + "\n"
9223372036854775808
-9223372036854775808
-9223372036854775809
123456789012345678901234567890
0xFFFFFFFFFFFFFFFFFFFF
0o7777777777777777777777777
1_000_000_000_000_000_000_000
9223372036854775807 + 1
-9223372036854775807 - 2
2 ** 63 - 1
4294967296 * 4294967296
-(2 ** 63)
-(2 ** 63) // -1
-(2 ** 63) % -1
2 ** 200
(-3) ** 101
10 ** 30 // 7
-(10 ** 30) // 7
10 ** 30 % -7
-(10 ** 30) % (10 ** 20 + 1)
10 ** 30 // (10 ** 20 + 1)
10 ** 30 / 10 ** 20
(2 ** 53 + 1) / 1
(10 ** 400) / (10 ** 399)
(10 ** 400) / 3
10 ** 400 * 1.0
2 ** 64 * 1.5
2 ** 64 + 0.5
10 ** 30 // 0
10 ** 30 % 0
10 ** 30 / 0
(2 ** 70) ** -1
2 ** 53 + 1 == 2.0 ** 53
2 ** 53 + 1 > 2.0 ** 53
10 ** 30 == 1e30
2 ** 100 == 2.0 ** 100
10 ** 400 > 1e308
10 ** 400 < 1e999
-(10 ** 400) > -1e999
10 ** 30 < 10 ** 30 + 1
10 ** 30 in [1, 10 ** 30]
{10 ** 30: 'a'}[10 ** 30]
{2.0 ** 100: 'a'}[2 ** 100]
{1e30: 'a', 10 ** 30: 'b'}
{(2 ** 64, 1): 2}[(2 ** 64, 1)]
[2 ** 64, 1, 2.5, -(2 ** 64), 1e30]|sort
[2 ** 64, 1]|max
[2 ** 63, 2 ** 63]|sum
(2 ** 64)|string|length
(2 ** 64)|tojson
[2 ** 64, {2 ** 64: -(2 ** 64)}]|tojson
(-(2 ** 64))|abs
(2 ** 64)|float
(2 ** 64)|int
(10 ** 400)|float
1e30|int
1e300|int
1e999|int
1e999
-1e999
1e-999
'99999999999999999999999'|int
' -99999999999999999999999 '|int
'ffffffffffffffffffffffff'|int(0, 16)
'0xffffffffffffffffffffffff'|int(0, 0)
'012'|int(5, 0)
'12'|int(5, 1)
'zz'|int(5, 36)
'0x_ff'|int(5, 16)
'1e400'|int(7)
'1e30'|int
('9' * 4300)|int|string|length
('9' * 4301)|int
'1e-999'|float
(10 ** 4299)|string|length
(10 ** 4300)|string|length
'%x' % (2 ** 20000)
15|round(-1)
25|round(-1)
(10 ** 25 + 5)|round(-1)
(2 ** 64)|round
2.5|round(-400)
-2.5|round(-9223372036854775808)
2.5|round(9223372036854775807)
7|round(9223372036854775807)
1 is lessthan 2
(2 ** 64 + 1)|round(-20)
7|round(2, 'ceil')
1e22|round(2, 'floor')
1234|round(-2, 'ceil')
2 ** 64 is odd
(2 ** 64 + 1) is odd
2 ** 64 is integer
2 ** 64 is divisibleby 3
xs[2 ** 64]
xs[2 ** 64] is defined
xs[:2 ** 64]
xs[-(2 ** 64):]
'abc'[::-(2 ** 64)]
'abc'.find('c', 2 ** 64)
'abc'.find('c', -(2 ** 64))
s * 2 ** 64
s|center(2 ** 64)
range(2 ** 64)
range(2 ** 64, 2 ** 64 + 2)|list
range(9007199254740993, 9007199254740995)|list
range(3, -5, -4)|list
range(0, 5, 0)
(2 ** 64)|filesizeformat
1e24|filesizeformat
1e300|filesizeformat
(-(10 ** 30))|filesizeformat
'%d' % 2 ** 2
'%d' % (2 ** 64)
'%+d|% d|%-30d|%030d' % (2 ** 64, 2 ** 64, 2 ** 64, -(2 ** 64))
'%x %X %o %#x %#X %#o' % (255, 255, 8, 255, 255, 8)
'%x' % -255
'%x' % 2.5
'%.30d|%40.35d|%-#40x|' % (2 ** 64, 7, 2 ** 70)
'%d' % 1e30
'%d' % 1e999
'%f' % (2 ** 64)
'%.400f' % 0.1
'%f' % 1e308
'%05d|%05.1f|%+.2e' % (true, -2.5, 12345)
'%*d|%-*d|%.*f' % (5, 3, 5, 3, 2, 3.14159)
'%u %ld %a' % (3, 4, '\u00e9\U0001f600')
'%(a(b))s' % {'a(b)': 1}
'%%' % ()
'%5c|%-5c|' % ('\u00e9', 65)
'%a'|safe % '<\u00e9'
'{:d} {:,} {:_x} {:#b} {:>30} {:e}'.format(2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64)
'{!a}'.format('\u00e9')
'{:c}'.format(2 ** 64)
-7.5 // 2
7.5 // -2
1e16 // 1.5
-0.0 // 1
-1 // 1e999
1e300 ** 2
0.0 ** -1
'a well-known state-of-the-art foo--bar e.g. x--'|wordwrap(12)
'a well-known state-of-the-art'|wordwrap(12, break_on_hyphens=false)
'supercalifragilistic words'|wordwrap(5)
'supercalifragilistic words'|wordwrap(5, false)
'ab-cd--ef f-8a ab-c1-de 1-2 -known well-'|wordwrap(3)
'one  two\n\n three   four'|wordwrap(5, true, '|')
lines|wordwrap(3)
''|wordwrap
'a'|wordwrap(0)
n|wordwrap
people|pprint
(people * 3)|pprint
tree|pprint
{'b': 1, 'a': [2, {'d': none, 'c': ()}]}|pprint
{2: 'x', 'a': 1, none: 2, 1.5: 3}|pprint
('word ' * 40)|pprint
['word ' * 40, 'x' * 100]|pprint
{'key': 'line one\nline two ' * 8, 'e': ''}|pprint
('a' * 100,)|pprint
('q\'"' * 40)|pprint
(html * 9)|safe|pprint
(['x' * 30] * 5, {'k' * 60: ['y' * 30]})|pprint
undefined_thing|pprint
s.isidentifier()
'_a1'.isidentifier()
'1a'.isidentifier()
''.isidentifier()
'\u00e9l\u00e8ve'.isidentifier()
'abc'.translate({97: 'Q', 98: none, 99: 100})
'abc'.translate(''.maketrans('ab', 'xy', 'c'))
'abc'.translate(''.maketrans({'a': 'zz', 'b': none, 99: 1}))
'abc'.translate({97: 1114112})
''.maketrans('ab', 'a')
''.maketrans({'ab': 1})
'{a} {b[0]} {a!r:>4}'.format_map({'a': 1, 'b': [2]})
'{}'.format_map({'a': 1})
'{x}'.format_map({'a': 1})
('<{a}>'|safe).format_map({'a': '<'})
{}.fromkeys('aba')
{}.fromkeys(xs, 0)
{}.fromkeys([[1]])
""" 

# Whole templates.
STATEMENTS = [
    "{% for x in xs %}{{ x }},{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in xs %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }};{% endfor %}",
    "{% for x in xs %}[{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }}]{% endfor %}",
    "{% for x in xs %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1,1,2,2] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in xs if x > 9 %}{{ x }}{% else %}nothing{% endfor %}",
    "{% for k, v in nested.items() %}{{ k }}={{ v }}{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}",
    "{% for a, b in [[1,2],[3,4]] %}{{ a + b }} {% endfor %}",
    "{% for a, b in [[1,2,3]] %}{{ a }}{% endfor %}",
    "{% for a, (b, c) in [[1,[2,3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'h\u00e9\u4f60' %}{{ c }}.{% endfor %}",
    "{% for x in n %}{% endfor %}",
    "{% for x in undefined_thing %}{% else %}e{% endfor %}",
    "{% for x in range(10) %}{% if x == 3 %}{% continue %}{% endif %}{% if x > 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}|{% endfor %}",
    "{% for i in tree recursive %}{{ loop.depth }}{{ i.n }}{% if i.c %}({{ loop(i.c) }}){% endif %}{% endfor %}",
    "{% for i in tree recursive %}<{{ i.n }}{{ loop(i.c) }}>{% else %}.{% endfor %}",
    "{% for x in xs %}{{ loop(x) }}{% endfor %}",
    "{% set x = 1 %}{% for i in xs %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(t=0) %}{% for i in xs %}{% set ns.t = ns.t + i %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set d.a = 5 %}",
    "{% set nope.a = 5 %}",
    "{% if t %}{% set y = 'in' %}{% endif %}{{ y }}",
    "{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif zero %}b{% else %}c{% endif %}",
    "{% if undefined_thing %}a{% endif %}.",
    "{% if undefined_thing.x %}a{% endif %}.",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set t1 = 1, 2 %}{{ t1 }}",
    "{% set block %}Hi {{ n }}{% endset %}{{ block }}{{ block|length }}",
    "{% set block | upper | trim %} x {% endset %}[{{ block }}]",
    "{% set x = 'outer' %}{% set b %}{% set x = 'inner' %}{{ x }}{% endset %}{{ b }}{{ x }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}",
    "{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% macro m(a, b='B', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, 2) }}|{{ m(1, c=3) }}|{{ m(b=1, a=2) }}",
    "{% macro m(a) %}[{{ a }}{{ a is defined }}]{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k='v') }}",
    "{% macro m(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call m('q') %}in{{ n }}{% endcall %}",
    "{% macro m(items) %}{% for i in items %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) m(xs) %}[{{ i }}]{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * fact(k - 1)|int }}{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro m(x) -%}  {{ x }}  {%- endmacro %}[{{ m('a') }}]",
    "{% macro m() %}{% set q = 1 %}{% endmacro %}{{ m() }}{{ q is defined }}",
    "{% set late = 'x' %}{% macro m() %}{{ late }}{% endmacro %}{% set late = 'y' %}{{ m() }}",
    "{% macro m(a, b) %}{% endmacro %}{{ m.name }}{{ m.arguments }}",
    "{% filter upper %}abc{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}banana{% endfilter %}",
    "{% generation %}{{ s }}{% endgeneration %}!",
    "{% generation %}{% set q = 2 %}{{ q }}{% endgeneration %}{{ q is defined }}",
    "{% raw %}{{ not }}{% if %}{% endraw %}",
    "{% raw -%}  x  {%- endraw %}|",
    "a{# comment #}b",
    "a {#- comment -#} b",
    "  {# c #}\nx",
    "{{ 'a' }}\n{{ 'b' }}\n",
    "x\n\n",
    "  {% if t %}\n  yes\n  {% endif %}\nend",
    "  {%- if t -%}\n  yes\n  {%- endif -%}\nend",
    "  {%+ if t %}\n yes\n{%+ endif %}\nend",
    "  {% if t +%}\n yes\n  {% endif +%}\nend",
    "a  {{- s -}}  b",
    "a  {{ s }}  b",
    "line {% if t %} inline {% endif %} end",
    "\t {% set x = 1 %}\n{{ x }}",
    "{% if t %}\n\n{% endif %}x",
    "{% for x in xs %}\n{{ x }}\n{% endfor %}\n",
    "{%- for x in xs -%} {{ x }} {%- endfor -%} ",
    "<\r\n{% if t %}\r\nx\r\n{% endif %}\r\n>",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}",
    "{ { % # }",
    "{{ 'multi\nline' }}",
    "{% print s %}",
    "{% set x %}{% endset %}[{{ x }}]",
    "{% set x %}{{ '<'|safe }}{% endset %}{{ x + '<' }}",
    "{% macro m() %}<{% endmacro %}{{ m() + ('<'|safe) }}",
    "{% filter safe %}<{{ html }}{% endfilter %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% set j = joiner('-') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}",
    "{% set g = people|selectattr('nick') %}{% for x in g %}{{ x.name }}{% endfor %}{% for x in g %}again{% endfor %}{{ g|list }}",
    "{% set g = xs|select %}{{ g|first }}{{ g|first }}{{ g|list }}{{ g|first is defined }}",
    "{% set a, b = xs|select('gt', 1) %}{{ a }}{{ b }}",
    "{% if messages|selectattr('role', 'equalto', 'tool') %}always{% endif %}",
    "{% for k, v in d|items if v %}{{ k }}{% endfor %}",
    "{% for c in people|map(attribute='name') recursive %}{{ c }}{{ loop.last }}{% endfor %}",
    "{% for b in xs|batch(2) %}{{ loop.length }}{{ b }}{% endfor %}",
    "{% macro m() %}{{ varargs|join }}{% endmacro %}{{ m(*xs|map('string')) }}",
    "{{ raise_exception('stop here') }}",
    "{% if n == 7 %}{{ raise_exception('n is ' ~ n) }}{% endif %}",
    "{% if %}{% endif %}",
    "{% for %}{% endfor %}",
    "{% endif %}",
    "{% if t %}",
    "{{ s",
    "{{ }}",
    "{% nonsense %}",
    "{{ s| }}",
    "{{ (1 }}",
    "{{ [1 }}",
    "{{ 1 + }}",
    "{{ 'unterminated }}",
    "{{ a b }}",
    "{{ 1 is }}",
    "{% set 1 = 2 %}",
    "{% set true = 2 %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% break %}",
    "{% raw %}x",
    "{# open",
    "{{ s.__class__ }}",
    "{{ s['__class__'] }}",
    "{{ [].__class__.__mro__ }}",
    "{{ 1 if t else }}",
    "{{ x.y.z }}",
    "{{ messages[0]['role'] }}",
    "{% for m in messages %}{{ m.role }}{% endfor %}none",
    "{% set x = {'a': 1} %}{% set x = dict(x, b=2) %}{{ x }}",
    "{% for x in xs %}{% set loop_x = loop.index %}{% for y in [1] %}{{ loop_x }}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in xs -%}\n  {{ x }}\n{%- if not loop.last %}, {% endif %}\n{%- endfor %}",
    "{%- set content = '<think>a</think>b' %}{%- if '</think>' in content %}{%- set r = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{{ r }}{%- endif %}",
    "{%- for message in people[::-1] %}{{ message.name }}{% endfor %}",
    "{% set m = people[1:] %}{{ m|length }}{{ m[0]['name'] }}",
    "{{ people | map(attribute='name') | join(', ') if people else 'none' }}",
    "{%- if people is defined and people|length > 0 and people[0].name == 'Ann' %}ok{% endif %}",
    "{% for p in people if p.age > 30 and loop is defined %}{{ p.name }}{% endfor %}",
    "{% set ns = namespace(first=true, last=people|length - 1) %}{% for p in people %}{% if ns.first and p.age < 30 %}{% set ns.first = false %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last }}{{ ns.first }}",
    "{% for i in range(3) %}{% macro inner() %}{{ i }}{% endmacro %}{{ inner() }}{% endfor %}",
    "{% macro outer() %}{% macro inner(x) %}({{ x }}){% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}",
    "{% call nope() %}{% endcall %}",
    "{{ caller() }}",
    "{% set f = s.upper %}{{ f() }}",
    "{% set s = 'shadow' %}{{ s }}",
    "{% for s in xs %}{{ s }}{% endfor %}{{ s }}",
    "{% for x in xs %}{% if loop.first %}{% set first = x %}{% endif %}{% endfor %}{{ first is defined }}",
    "{{ xs|map('nofilter')|list }}",
    "{{ xs|select('notest')|list }}",
    "{% for x in {'b': 1, 'a': 2}|dictsort %}{{ x[0] }}{{ x[1] }}{% endfor %}",
    "{% for city, group in people|groupby('city') %}{{ city }}:{{ group|map(attribute='name')|join(',') }};{% endfor %}",
    "{% for g in people|groupby('city') %}{{ g.grouper }}={{ g.list|length }} {% endfor %}",
    "{{ '%s' % xs }}{{ '%s-%s' % (xs, 1) }}",
    "{{ 'a'.join(['x', 'y']) ~ 'z' * 3 }}",
    # Every small limit of a split, from both sides.
    "{% for t in ['', ',', 'a', 'a,', ',a', 'a,b', ',,', 'a,,b', ' a  b ', 'a b c'] %}"
    "{% for n in [-2, -1, 0, 1, 2, 3] %}{% for parts in [t.split(',', n), t.rsplit(',', n), t.split(none, n), t.rsplit(none, n)] %}"
    "{{ parts|join('/') }};{% endfor %}{% endfor %}{% endfor %}",
    "{%- macro json_to_python_type(json_spec) %}\n{%- set basic = {'string': 'str', 'integer': 'int'} %}\n{%- if basic[json_spec.type] is defined %}\n{{- basic[json_spec.type] }}\n{%- elif json_spec.type == 'array' %}\n{{- 'list[' + json_to_python_type(json_spec['items']) + ']' }}\n{%- else %}\n{{- 'Any' }}\n{%- endif %}\n{%- endmacro %}\n{{ json_to_python_type({'type': 'array', 'items': {'type': 'string'}}) }}",
]


def main():
    env = make_environment()
    cases = []
    for source in [line for line in EXPRESSIONS.strip("\n").split("\n")]:
        template = "{{ " + source + " }}"
        cases.append({"template": template, **render(env, template, CONTEXT)})
    for template in STATEMENTS + SYSTEMATIC:
        cases.append({"template": template, **render(env, template, CONTEXT)})
    json.dump({"context": CONTEXT, "cases": cases}, sys.stdout, ensure_ascii=True, indent=0)
    print()


if __name__ == "__main__":
    main()
