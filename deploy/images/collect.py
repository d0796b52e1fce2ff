#!/usr/bin/env python3
"""Collects what an image holds: programs, stripped; the shared libraries they load; the licences of
the packages these are from; users, certificates' place; and a list of it all (CycloneDX).

    collect.py --out FOLDER PROGRAM...

The same programs give the same bytes: no time, no random number goes in. Read next: Containerfile.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

# Opened by name at run time, so that no program lists them: name resolution by the C library.
LOADED_LATER = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
USER = 65532
FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
SYSTEM_FOLDERS = ("/lib", "/usr/lib")
# By debian_version the GPU container toolkit knows where libraries belong.
SYSTEM_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/debian_version")


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


def libraries_of(program):
    """Names under which the loader finds libraries, and where they are on this system. Those that are
    not the system's own are put beside the C library."""
    found = {}
    for line in run("ldd", program).splitlines():
        match = re.match(r"\s*(?:(\S+) => )?(/\S+) \(0x", line)
        if match:
            found[match[2]] = pathlib.Path(match[2])
        elif "not found" in line:
            raise SystemExit(f"{program}: {line.strip()}")
    folder = next(p.parent for name, p in found.items() if "/libc.so." in name)
    for name in LOADED_LATER:
        if (folder / name).exists():
            found[str(folder / name)] = folder / name
    return {name if name.startswith(SYSTEM_FOLDERS) else str(folder / path.name): path
            for name, path in found.items()}


def python_package_of(path):
    """As package_of, for a library that came in a Python package, or in a toolkit that was put together
    from such packages and keeps their records in its dist-info/."""
    records = ((record, path.relative_to(folder)) for folder in path.parents
               for pattern in ("*.dist-info/RECORD", "dist-info/*.dist-info/RECORD")
               for record in sorted(folder.glob(pattern)))
    for record, file in records:
        if re.search(rf"^(\S+/)?{re.escape(str(file))},", record.read_text(), re.MULTILINE):
            head = record.with_name("METADATA").read_text()
            name, version = (re.search(rf"^{key}: (\S+)$", head, re.MULTILINE)[1]
                             for key in ("Name", "Version"))
            licences = sorted(p for p in record.parent.rglob("*")
                              if p.is_file() and "license" in p.name.lower())
            return name, f"pkg:pypi/{name}@{version}", version, licences[0]
    return None


def package_of(path):
    """Name, package URL, version and licence of the package that owns a file."""
    for name in (str(path), str(path).removeprefix("/usr"), os.path.realpath(path)):
        done = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            package = done.stdout.split(": ")[0].split(",")[0]
            fields = run("dpkg-query", "-W", "-f=${Package}\t${Version}\t${Architecture}", package)
            name, version, architecture = fields.split("\t")
            return (name, f"pkg:deb/debian/{name}@{version}?arch={architecture}", version,
                    pathlib.Path("/usr/share/doc") / name / "copyright")
    if owner := python_package_of(path):
        return owner
    raise SystemExit(f"{path}: no package is known to own it, so its licence cannot be shipped")


def put(out, name, content, mode=0o644):
    target = out / name.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(mode)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("programs", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    libraries, components, packages = {}, [], set()
    for program in args.programs:
        libraries |= libraries_of(program)
        name = f"/usr/bin/{program.name}"
        put(args.out, name, program.read_bytes(), 0o755)
        subprocess.run(["strip", "--strip-all", args.out / name.lstrip("/")], check=True)
        digest = hashlib.sha256((args.out / name.lstrip("/")).read_bytes()).hexdigest()
        components.append({"type": "application", "name": program.name,
                           "version": run(program, "--version").split()[-1],
                           "hashes": [{"alg": "SHA-256", "content": digest}]})
    system = [pathlib.Path(name) for name in SYSTEM_FILES if os.path.exists(name)]
    for name, path in [*libraries.items(), *((str(path), path) for path in system)]:
        put(args.out, name, path.resolve().read_bytes(), 0o755 if ".so" in path.name else 0o644)
        if path not in system:  # these are made while the system is installed
            packages.add(package_of(path))
    for name, text in FILES.items():
        put(args.out, name, text.encode())
    # Some programs of the C library look here first; it must exist and stay empty.
    (args.out / "tmp").mkdir(mode=0o1777)
    (args.out / "tmp").chmod(0o1777)
    for package, url, version, licence in sorted(packages):
        if licence.exists():
            put(args.out, f"/usr/share/doc/{package}/copyright", licence.resolve().read_bytes())
        components.append({"type": "library", "name": package, "version": version, "purl": url})
    sbom = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}
    put(args.out, "/usr/share/pingti/sbom.cdx.json", (json.dumps(sbom, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
