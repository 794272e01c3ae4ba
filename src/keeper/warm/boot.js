// batch-executor: a process of Node.js that was started ahead of its task. argv: its socket to the keeper, the keeper's pid.
// It writes one byte when it is ready, waits for the one task that it will be, and writes another when it begins with it.
// Before that it changes nothing that anybody else sees: a task that it cannot run as `node -e` would (a module, what is no
// JavaScript, a folder that is gone) it leaves alone by its death, and the keeper starts that anew.
{
  const fs = require('fs'), Module = require('module'), path = require('path'), vm = require('vm');
  // What a task that writes output has loaded at that moment.
  require('net');
  const [channel, keeper] = process.argv.splice(1).map(Number);
  const loader = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (!loader) throw new Error(`Node.js ${process.version} is too old: 20.12 or later is needed`);
  if (process.ppid !== keeper) throw new Error('the interpreter was not started by exec, but as a child');
  // Whether this version makes `crypto` that module for code which names it, as this code does.
  const names = crypto === require('crypto');

  // This version may warn at the first import() that what makes it possible here is experimental. That is now, to nobody.
  const { emitWarning } = process;
  process.emitWarning = () => {};
  new vm.Script('import("fs")', { importModuleDynamically: loader }).runInThisContext();
  process.emitWarning = emitWarning;

  const die = () => process.kill(process.pid, 'SIGKILL');
  const receive = (length) => {
    const bytes = Buffer.alloc(length);
    for (let at = 0, count; at < length; at += count) {
      count = fs.readSync(channel, bytes, at, length - at, null);
      if (count === 0) die();
    }
    return bytes;
  };
  const begin = () => {
    const [stdin, umask, cwd, count, ...words] = receive(receive(4).readUInt32LE()).toString().split('\0');
    const [, flag, code] = words.splice(0, Number(count));
    if (stdin) {
      fs.closeSync(0);
      if (fs.openSync(stdin, 'r') !== 0) throw new Error('another descriptor is free');
    }
    for (const word of words) {
      const at = word.indexOf('=');
      const [name, value] = [word.slice(0, at), word.slice(at + 1)];
      process.env[name] = value;
      if (process.env[name] !== value) throw new Error(`${name} cannot be set`);
    }
    if (umask) process.umask(Number(umask));
    process.chdir(cwd);
    process.execArgv.splice(0, Infinity, flag, code);
    Object.defineProperty(process, '_eval', { value: code });
    module.filename = path.join(process.cwd(), '[eval]');
    module.paths = Module._nodeModulePaths(process.cwd());
    const source = names && /\bcrypto\b/.test(code) ? `(crypto=>{{${code}}})(require('node:crypto'))` : code;
    const script = new vm.Script(source, { filename: '[eval]', importModuleDynamically: loader });
    fs.writeSync(channel, '.');
    fs.closeSync(channel);
    /^/.test('');
    return script;
  };
  let script;
  try {
    fs.writeSync(channel, '.');
    script = begin();
  } catch {
    die();
  }
  // When this code has ended: with what called it in their stack traces, errors would be so long that their messages are
  // lost where only the last lines are kept.
  const own = module;
  process.nextTick(() => {
    // When the code of `-e` has ended, `module` is the builtin one of that name again.
    const builtin = globalThis.module;
    globalThis.module = own;
    script.runInThisContext();
    globalThis.module = builtin;
  });
}
//# sourceURL=batch-executor-boot
