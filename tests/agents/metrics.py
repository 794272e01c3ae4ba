"""The metrics, read by Prometheus' own parser of OpenMetrics: python metrics.py PROGRAM"""
import json
import os
import re
import subprocess
import sys
import tempfile

from prometheus_client.openmetrics.parser import text_string_to_metric_families

program = os.path.abspath(sys.argv[1])


def read(text):
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return samples


with tempfile.TemporaryDirectory() as folder:
    kept = os.path.join(folder, "batch.prom")
    config = os.path.join(folder, "config.toml")
    with open(config, "w") as file:
        file.write('metrics_file = "%s"\n[gates]\nload = 100000\n"odd \\" \\\\ name" = { command = ["true"] }\n' % kept)
    environment = os.environ | {"BATCH_EXECUTOR_HOME": os.path.join(folder, "home"), "BATCH_EXECUTOR_CONFIG": config}

    def run(*arguments):
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=True).stdout

    try:
        run("add", "--max-retries", "1", "--delay", "0", "--", "sh", "-c", "exit 3")
        run("add", "--", "sleep", "0.2")
        run("add", "--delay", "3600", "--", "true")
        run("start", "--keep")
        subprocess.run([program, "wait", "1", "2"], env=environment, capture_output=True)
        samples = read(run("metrics"))
        assert samples["batch_executor_tasks", (("status", "queued"),)] == 1, samples
        assert samples["batch_executor_tasks", (("status", "failed"),)] == 1
        assert samples["batch_executor_attempts_total", (("outcome", "failed"),)] == 2
        assert samples["batch_executor_attempts_total", (("outcome", "completed"),)] == 1
        assert samples["batch_executor_attempt_seconds_count", ()] == 3
        assert samples["batch_executor_attempt_seconds_bucket", (("le", "0.1"),)] == 2, samples
        assert samples["batch_executor_running", ()] == 1
        assert samples["batch_executor_gate_open", (("gate", 'odd " \\ name'),)] == 1
        assert samples["batch_executor_oldest_due_seconds", ()] == 0
        # Each metric that the dashboard asks for is there. What nobody has interrupted has no sample.
        dashboard = os.path.join(os.path.dirname(__file__), "../../examples/grafana.json")
        asked = set()
        with open(dashboard) as file:
            for panel in json.load(file)["panels"]:
                for target in panel["targets"]:
                    asked.update(re.findall(r"batch_executor_\w+", target["expr"]))
        assert len(asked) > 8, asked
        assert asked - {"batch_executor_interruptions_total"} <= {name for name, _ in samples}, asked
        with open(kept) as file:
            assert ("batch_executor_tasks", (("status", "queued"),)) in read(file.read())
        assert os.stat(kept).st_mode & 0o777 == 0o644
    finally:
        run("daemon", "stop", "--grace", "0")
print("the metrics are sound")
