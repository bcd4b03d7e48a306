from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extauthz.transport import exposition


def page(count):
    registry = CollectorRegistry()
    checks = Counter("checks", "Checks.", ["route", "odd"], registry=registry)
    checks.labels('a "quoted" {brace} \\ name', "x y").inc(count)
    Gauge("in_flight", "In flight.", registry=registry).set(count)
    Histogram("seconds", "Seconds.", ["stage"], buckets=(0.1, 1), registry=registry).labels("policy").observe(count)
    return generate_latest(registry).decode()


def samples(text):
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_every_sample_of_every_worker_is_there_once_with_its_worker():
    merged = exposition.merge({"0": page(1), "1": page(2)})
    expected = {
        (name, labels | {("worker", worker)}): value
        for worker, count in (("0", 1), ("1", 2))
        for (name, labels), value in samples(page(count)).items()
    }
    assert samples(merged) == expected


def test_families_are_described_once_and_stand_together():
    lines = exposition.merge({"0": page(1), "1": page(2)}).splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert len(comments) == len(set(comments))
    families = [line.split("{")[0].removesuffix("_bucket") for line in lines if line.startswith("seconds_bucket")]
    first = lines.index(next(line for line in lines if line.startswith("seconds_bucket")))
    assert all(line.startswith("seconds") for line in lines[first : first + len(families)])


def test_nothing_is_an_empty_page():
    assert exposition.merge({}).strip() == ""
    assert exposition.merge({"0": "garbage here { \n\n# only a comment\n"}).count("\n") <= 2
