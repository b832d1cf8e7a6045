// Runs checks.py in CPython compiled to WebAssembly: node tests/wasm/run.mjs PYODIDE TREE SITE
// PYODIDE: the installed npm package; TREE: the checkout; SITE: a folder of pure Python packages.
import { pathToFileURL } from "node:url";
import { join, resolve } from "node:path";

const [pyodide, tree, site] = process.argv.slice(2).map((path) => resolve(path));
const { loadPyodide } = await import(pathToFileURL(join(pyodide, "pyodide.mjs")).href);
const python = await loadPyodide();
for (const [name, root] of [["/tree", tree], ["/site", site]]) {
  python.FS.mkdirTree(name);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, name);
}
const code = `
import sys
sys.dont_write_bytecode = True
sys.path[:0] = ["/tree", "/site", "/tree/tests/wasm"]
import checks
checks.main()
`;
process.exitCode = python.runPython(code);
