"""huey with SQLite: huey_run.py DATABASE N WORKERS queues N calls of /bin/true, then prints the seconds to run them."""
import logging, subprocess, sys, time

from huey import SqliteHuey

database, count, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
logging.disable(logging.CRITICAL)
queue = SqliteHuey(filename=database)


@queue.task()
def true():
    return subprocess.call(["/bin/true"])


calls = [true() for _ in range(count)]
begun = time.monotonic()
consumer = queue.create_consumer(workers=workers, periodic=False, initial_delay=0.001, max_delay=0.001)
consumer.start()
if any(call.get(blocking=True, timeout=300, backoff=1, max_delay=0.002) != 0 for call in calls):
    sys.exit("a task failed")
print(time.monotonic() - begun)
consumer.stop(graceful=True)
