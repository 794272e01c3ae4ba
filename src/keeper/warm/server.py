# batch-executor: a fork-server of warm tasks. argv: its socket to the keeper, the keeper's pid, the modules to import.
# The keeper writes how many forks it wants; each is told as "PID" with a socket of its own, and "forked" once
# the keeper is their parent. A fork waits on its socket for one task, becomes it, and never comes back here.
# A page that a fork writes to is copied: what can be made before is made before, and little is made after.
pristine = dict(globals())
__name__ = "batch_executor_warm"

import _socket, atexit, ctypes, gc, os, signal, sys
# What the wrapper of a custom function imports, several milliseconds of it.
import json, types

MARK = b"BATCH_EXECUTOR_CLAIM="
PR_SET_PDEATHSIG = 1
# CPython 3.11 specializes a function's code from its eighth run on (`Include/internal/pycore_code.h`).
REHEARSALS = 16
keeper = int(sys.argv[2])
libc = ctypes.CDLL(None)
prctl = libc.prctl
libc.getenv.restype = ctypes.c_void_p
# Where /proc/PID/environ has the value of the mark: what was in the environment at exec.
place = libc.getenv(MARK[:-1])


def mark(claim):
    ctypes.memmove(place, claim.zfill(20), 20)


def check():
    if os.getppid() != keeper:
        sys.exit("the interpreter was not started by exec, but as a child")
    mark(b"1")
    with open("/proc/self/environ", "rb") as environ:
        if MARK + b"1".zfill(20) not in environ.read().split(b"\0"):
            sys.exit("the mark of a task cannot be set in /proc/self/environ")
    mark(b"0")
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def receive(channel):
    """The descriptors of the next message."""
    message, rights, _, _ = channel.recvmsg(1, 64, _socket.MSG_CMSG_CLOEXEC)
    if not message:
        os._exit(0)
    channel.close()
    return memoryview(rights[0][2]).cast("i").tolist()


def forks(control, count):
    """Makes forks and ends, so that they become the keeper's; comes back in each that has a task."""
    pairs = [_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET) for _ in range(count)]
    numbers = [(ours.detach(), theirs.detach()) for ours, theirs in pairs]
    pids = []
    for channel, _ in numbers:
        pid = os.fork()
        if pid == 0:
            # A group that the keeper can signal from when it knows the pid.
            os.setsid()
            control.close()
            for ours, theirs in numbers:
                os.close(theirs)
                if ours != channel:
                    os.close(ours)
            if "numpy.random" in sys.modules:
                sys.modules["numpy.random"].seed()
            os.write(channel, b".")
            return receive(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, channel))
        pids.append(pid)
    for pid, (ours, theirs) in zip(pids, numbers):
        os.close(ours)
        if os.read(theirs, 1):
            number = theirs.to_bytes(4, sys.byteorder)
            control.sendmsg([b"%d" % pid], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, number)])
    os._exit(0)


def serve():
    """Forks as often as it is told to; comes back in each fork that has a task."""
    control = _socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    for name in sys.argv[3:]:
        __import__(name)
    rehearse()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()
    try:
        while count := control.recv(1):
            maker = os.fork()
            if maker == 0:
                return forks(control, count[0])
            os.waitpid(maker, 0)
            control.send(b"forked")
    except OSError:
        # The keeper has closed its end.
        pass
    os._exit(0)


def rehearse():
    """Does what each fork will do, so that what is made at its first time is there: the types of the compiler (more work
    than most tasks), code that is specialized for what it meets, symbols that are bound."""
    words = [b"", b".", b"3", b"python3", b"-c", b"", MARK + b"0"]
    for _ in range(REHEARSALS):
        run(*become(words, *(os.dup(number) for number in range(3))))
        flush()
    sys.modules["__main__"] = own


def words_of(given):
    """What a task's first descriptor says of it."""
    text = os.read(given, os.fstat(given).st_size)
    os.close(given)
    return text.split(b"\0")


def become(words, stdin, stdout, stderr, value=None):
    """Makes this process what exec would have made; gives the code to run and where it is from."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os.kill(os.getpid(), signal.SIGKILL)
    umask, cwd, argc, *words = words
    for stream, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
        os.dup2(stream, number)
        os.close(stream)
    argc = int(argc)
    for variable in words[argc:]:
        name, _, setting = variable.partition(b"=")
        os.environb[name] = setting
    if value is not None:
        os.set_inheritable(value, True)
        os.environb[b"BATCH_EXECUTOR_VALUE_FD"] = b"%d" % value
    mark(os.environb[MARK[:-1]])
    if umask:
        os.umask(int(umask))
    os.chdir(cwd)
    sys.modules["__main__"] = main
    argv = [os.fsdecode(word) for word in words[:argc]]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = argv[1:]
    if argv[1] == "-c":
        sys.argv = ["-c", *argv[3:]]
        return argv[2], "<string>"
    sys.argv = argv[1:]
    path = argv[1]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(path)
    main.__file__, main.__cached__ = path, None
    main.__loader__ = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)
    with open(path, "rb") as file:
        return file.read(), path


def run(code, name):
    """As `python3 -c` runs it; gives the exit code, or the signal that ends it as a negative number."""
    try:
        exec(compile(code, name, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as exit:
        if exit.code is None or isinstance(exit.code, int):
            return exit.code or 0
        print(exit.code, file=sys.stderr)
    except BaseException as error:
        trace = error.__traceback__ = error.__traceback__.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        sys.excepthook(type(error), error, trace)
        if isinstance(error, KeyboardInterrupt):
            return -signal.SIGINT
    else:
        return 0
    return 1


def finish(code):
    """What the interpreter does at its end, but for what was there before the task."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    flush()
    if hasattr(sys, "last_value"):
        sys.last_type = sys.last_value = sys.last_traceback = None
    # The latest come first.
    while len(sys.modules) > known:
        sys.modules.popitem()
    main.__dict__.clear()
    gc.collect()
    if not flush():
        code = 120
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except Exception:
            return False
    return True


check()
own = sys.modules["__main__"]
main = type(sys)("__main__")
main.__dict__.update(pristine)
given, *streams = serve()
known = len(sys.modules)
finish(run(*become(words_of(given), *streams)))
