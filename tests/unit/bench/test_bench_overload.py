"""What the overload bench makes of the generator's words."""

from __future__ import annotations

from bench import overload, servers
from bench.overload import CONNS, MIX, ON, WARMUP, Class, ratios, show


def said(**changes):
    found = {"requests": 900, "failed": 100, "seconds": 10.0, "p50_us": 1500.0, "p99_us": 9000.0}
    return {**found, "statuses": {"200": 600, "503": 300}, **changes}


def test_each_request_is_allowed_shed_or_late():
    found = Class.of(said(), shed=round(240 * (10 + WARMUP) / 10))
    assert (found.asked, found.allowed, found.shed, found.late) == (1000, 600, 240, 160)
    assert (found.p50, found.p99, found.good) == (1.5, 9.0, 60.0)
    assert Class.of(said(), shed=5000).late == 0


def test_the_ratio_is_of_critical_requests_to_the_steady_phase(capsys):
    slow = Class.of(said(p99_us=27000.0), 0)
    fast = Class.of(said(), 0)
    names = ("steady", "overload, no admission", "overload, admission", "steady again")
    phases = {name: dict.fromkeys(MIX, slow if name == "overload, no admission" else fast) for name in names}
    assert ratios(phases) == {**dict.fromkeys(names, 1.0), "overload, no admission": 3.0}
    show({"saturation": 100.0, "times": 3.0, "phases": phases})
    assert "critical p99 at 3x: 1.00 of steady with admission" in capsys.readouterr().out


def test_each_criticality_has_its_route_and_the_connections_fit():
    assert set(MIX) == set(CONNS) == set(servers.CRITICALITIES)
    assert round(sum(MIX.values()), 9) == 1.0
    assert sum(CONNS.values()) < 1024
    variants = overload.VARIANTS[ON.name]
    assert {one.route for one in variants.values()} == set(MIX)


def test_the_server_sheds_only_where_it_is_told(tmp_path):
    on = servers.settings(overload.ON, tmp_path, tmp_path)
    off = servers.settings(overload.OFF, tmp_path, tmp_path)
    assert (on["server"]["admission"]["enabled"], off["server"]["admission"]["enabled"]) == (True, False)
    assert [route["criticality"] for route in on["routes"]] == list(servers.CRITICALITIES)
