#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes remote.h (C structs, procedure numbers) and remote.c (codec tables) from remote.facts."""
import re
import sys

# Scalar types: C type, bytes on the wire.
SCALARS = {
    'i8': ('int8_t', 4), 'u8': ('uint8_t', 4), 'i16': ('int16_t', 4), 'u16': ('uint16_t', 4),
    'i32': ('int32_t', 4), 'u32': ('uint32_t', 4), 'i64': ('int64_t', 8), 'u64': ('uint64_t', 8),
    'string': ('const char *', 4), 'uuid': ('uint8_t', 16), 'opaque': ('uint8_t', 1),
    'typed_value': ('struct xdr_typed_value', 8),
}
# Words that the C API spells in capitals or in its own way.
WORDS = {
    'xml': 'XML', 'os': 'OS', 'uri': 'URI', 'uuid': 'UUID', 'id': 'ID', 'cpu': 'CPU', 'nmi': 'NMI', 'fsinfo': 'FSInfo',
    'fstrim': 'FSTrim', 'fsfreeze': 'FSFreeze', 'fsthaw': 'FSThaw', 'pm': 'PM', 'dhcp': 'DHCP', 'ssh': 'SSH', 'sev': 'SEV',
    'fd': 'FD', 'iothread': 'IOThread', 'io': 'IO', 'mac': 'MAC', 'nwfilter': 'NWFilter', 'nwfilters': 'NWFilters',
    'scsi': 'SCSI', 'wwn': 'WWN',
}


class Field:
    def __init__(self, text, limits):
        m = re.fullmatch(r'(\w+): (\w+)(\?|<(\w+)>|\[(\d+)\])?', text.strip())
        if not m:
            sys.exit(f'remote.facts: bad field "{text}"')
        self.name, self.type, suffix = m[1], m[2], m[3] or ''
        self.optional = suffix == '?'
        self.limit = limits[m[4]] if m[4] else None
        self.count = int(m[5]) if m[5] else None

    def c_type(self, prefix_of):
        return SCALARS[self.type][0] if self.type in SCALARS else f'struct {prefix_of(self.type)}'

    def declaration(self, prefix_of):
        c = self.c_type(prefix_of)
        gap = '' if c.endswith('*') else ' '
        if self.limit is not None:
            return f'struct {{ uint32_t n; {c}{gap}*v; }} {self.name};'
        if self.count is not None:
            return f'{c}{gap}{self.name}[{self.count}];'
        if self.type == 'uuid':
            return f'uint8_t {self.name}[16];'
        if self.optional and self.type != 'string':
            return f'{c}{gap}*{self.name};'
        return f'{c}{gap}{self.name};'

    def wire_min(self, sizes):
        if self.optional or self.limit is not None:
            return 4
        own = SCALARS[self.type][1] if self.type in SCALARS else sizes[self.type]
        return own * (self.count or 1)

    def table_row(self, owner, prefix_of, string_max):
        ref = 'xdr_' + (self.type if self.type in SCALARS else prefix_of(self.type))
        shape, limit = 'XDR_PLAIN', 0
        if self.limit is not None:
            shape, limit = 'XDR_ARRAY', self.limit
        elif self.count is not None:
            shape, limit = 'XDR_FIXED', self.count
        elif self.optional:
            shape = 'XDR_OPTIONAL'
        return f'        {{ "{self.name}", &{ref}, {shape}, offsetof(struct {owner}, {self.name}), {limit} }},'


class Facts:
    def __init__(self, path):
        self.limits, self.structs, self.programs = {}, [], {'remote': [], 'qemu': []}
        section = None
        for line in open(path, encoding='utf-8'):
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            if line.startswith('['):
                section = line[1:-1]
            elif section == 'limits':
                name, value = line.split()
                self.limits[name] = int(value)
            elif section == 'structs':
                m = re.fullmatch(r'(\w+) \((.*)\)', line)
                self.structs.append((m[1], self.fields(m[2])))
            else:
                self.programs[section].append(self.procedure(line))
        for name, procs in self.programs.items():
            if [p['number'] for p in procs] != list(range(1, len(procs) + 1)):
                sys.exit(f'remote.facts: the numbers of [{name}] are not 1, 2, 3, …')

    def fields(self, text):
        return [Field(f, self.limits) for f in text.split(',') if f.strip()]

    def procedure(self, line):
        m = re.fullmatch(r'(\d+) (\w+) (none|read|write|secret|event)( in| out)? \((.*?)\)(?: -> \((.*)\))?', line)
        if not m or (m[3] == 'event') != (m[6] is None):
            sys.exit(f'remote.facts: bad row "{line}"')
        return {'number': int(m[1]), 'name': m[2], 'access': m[3], 'stream': (m[4] or ' no').strip(),
                'args': self.fields(m[5]), 'ret': self.fields(m[6] or '')}


def api_name(name):
    """The public function's name, as libvirt's messages give it: domain_create_xml -> virDomainCreateXML."""
    return 'vir' + ''.join(WORDS.get(w, w.capitalize()) for w in name.split('_'))


def all_structs(facts):
    """(C name, key, fields) of every struct that has members, in an order in which each uses only earlier ones."""
    for name, fields in facts.structs:
        yield f'remote_{name}', name, fields
    for prog, procs in facts.programs.items():
        for p in procs:
            if p['access'] == 'event':
                yield f'{prog}_{p["name"]}_msg', f'{p["name"]}_msg', p['args']
                continue
            for kind in ('ret', 'args'):
                if p[kind]:
                    yield f'{prog}_{p["name"]}_{kind}', f'{p["name"]}_{kind}', p[kind]


def make_order(facts):
    """Structs that others use by value or pointer come first."""
    pending, done, out = list(all_structs(facts)), set(), []
    while pending:
        rest = []
        for c_name, key, fields in pending:
            if all(f.type in SCALARS or f.type in done for f in fields):
                done.add(key)
                out.append((c_name, key, fields))
            else:
                rest.append((c_name, key, fields))
        if len(rest) == len(pending):
            sys.exit(f'remote.facts: unknown type in {rest[0][0]}')
        pending = rest
    return out


def write_header(facts, order, prefix_of, out):
    out.append('/* Made by gen-remote.py from remote.facts. */\n#pragma once\n')
    out.append('#include <stdint.h>\n\n#include "libvirt-driver/xdr.h"\n')
    for prog, procs in facts.programs.items():
        out.append('enum {')
        out += [f'        {prog.upper()}_PROC_{p["name"].upper()} = {p["number"]},' for p in procs]
        out.append('};\n')
    out.append('enum {')
    out += [f'        REMOTE_{k} = {v},' for k, v in facts.limits.items()]
    out.append('};\n')
    for c_name, _, fields in order:
        out.append(f'struct {c_name} {{')
        out += [f'        {f.declaration(prefix_of)}' for f in fields]
        out.append(f'}};\nextern const struct xdr_type xdr_{c_name};\n')


def flags_offset(p, prog):
    if not any(f.name == 'flags' for f in p['args']) or p['access'] == 'event':
        return '-1, 0'
    field = next(f for f in p['args'] if f.name == 'flags')
    return f'offsetof(struct {prog}_{p["name"]}_args, flags), {SCALARS[field.type][1]}'


def write_tables(facts, order, prefix_of, out):
    out.append('/* Made by gen-remote.py from remote.facts. */\n#include <stddef.h>\n')
    out.append('#include "libvirt-driver/facts.h"\n#include "remote.h"\n')
    sizes = {}
    for c_name, key, fields in order:
        sizes[key] = sum(f.wire_min(sizes) for f in fields)
        out.append(f'static const struct xdr_field fields_{c_name}[] = {{')
        out += [f.table_row(c_name, prefix_of, facts.limits['STRING_MAX']) for f in fields]
        out.append('};')
        out.append(f'const struct xdr_type xdr_{c_name} = {{ "{key}", XDR_STRUCT, sizeof(struct {c_name}), {sizes[key]}, '
                   f'fields_{c_name}, {len(fields)} }};\n')
    for prog, procs in facts.programs.items():
        out.append(f'const struct remote_proc {prog}_procs[] = {{')
        for p in procs:
            event = p['access'] == 'event'
            args = f'&xdr_{prog}_{p["name"]}_{"msg" if event else "args"}' if p['args'] else 'NULL'
            ret = f'&xdr_{prog}_{p["name"]}_ret' if p['ret'] else 'NULL'
            out.append(f'        {{ {p["number"]}, "{p["name"]}", "{api_name(p["name"])}", ACCESS_{p["access"].upper()}, '
                       f'STREAM_{p["stream"].upper()}, {args}, {ret}, {flags_offset(p, prog)} }},')
        out.append(f'}};\nconst unsigned n_{prog}_procs = {len(procs)};\n')


def main():
    facts = Facts(sys.argv[1])
    order = make_order(facts)
    names = {key: c_name for c_name, key, _ in order}
    for path, writer in ((sys.argv[2], write_header), (sys.argv[3], write_tables)):
        out = []
        writer(facts, order, names.__getitem__, out)
        with open(path, 'w', encoding='utf-8') as f:
            f.write('\n'.join(out) + '\n')


main()
