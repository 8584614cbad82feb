"""The model against sums done by hand."""

import json
from dataclasses import replace

import pytest
import yaml

from bench.scaling import report
from bench.scaling.model import GB, Costs, Mix, Plant, herd_cpu, herd_full_at, load, look_seconds
from bench.scaling.scenarios import group_of, predicted_drain
from bench.scaling.shapes import FEW, MANY, SHORT, solve
from common.chunking import GIB, MIB
from common.settings import load_settings
from worker.polling import READ_LIMIT

COSTS = Costs(
    upload={"cpu.gateway": 0.01, "sql.gateway.writes": 2, "redis.zadd": 2, "redis.all": 30, "http.store.PutObject": 1},
    chunk={"cpu.gateway": 0.002, "http.store.UploadPart": 1, "http.store.ListParts": 0.01},
    mib={"cpu.gateway": 0.001, "cpu.worker": 0.0014, "bytes.client.sent": MIB, "bytes.store.sent": MIB},
    small={"cpu.gateway": 0.005, "cpu.worker": 0.007, "sql.gateway.writes": 0.5, "redis.zadd": 0.1},
    look={"1": 10e-6, "101": 110e-6, "1000": 1009e-6},
)
LARGE = Mix("1 GiB", {GIB: 1.0})


def test_a_large_file_is_an_upload_its_chunks_and_its_mib() -> None:
    found = COSTS.of_file(GIB)  # 205 chunks of 5 MiB
    assert found["cpu.gateway"] == pytest.approx(0.01 + 205 * 0.002 + 1024 * 0.001)
    assert found["http.store.UploadPart"] == 205


def test_ten_gib_have_512_chunks() -> None:
    assert COSTS.of_file(10 * GIB)["http.store.UploadPart"] == 512


def test_a_file_of_one_mib_is_small() -> None:
    assert COSTS.of_file(MIB) == COSTS.small


def test_replicas_are_cpu_by_target_rounded_up() -> None:
    # 1 GiB/s: gateways need 1.444 cores and get 0.7 of each, workers 1.4336
    found = load(COSTS, LARGE, GIB)
    assert (found.gateways, found.workers) == (3, 3)


def test_loads_grow_with_the_rate() -> None:
    found = load(COSTS, LARGE, 100 * GIB)
    assert found.writes == pytest.approx(200)
    assert found.redis == pytest.approx(3000)
    assert found.puts == pytest.approx(100 * 206)
    assert found.gets == pytest.approx(100 * 2.05)


def test_partitions_are_those_of_the_busier_direction() -> None:
    assert load(COSTS, LARGE, 100 * GIB).partitions == 6  # 20,600 writes by 3,500


def test_nodes_for_the_network_follow_the_busier_direction() -> None:
    # 100 GiB/s come in and go out; a node is given 0.6 x 3.125 GB/s
    assert load(COSTS, LARGE, 100 * GIB).nodes_network == 58


def test_a_mix_adds_its_parts() -> None:
    mix = Mix("both", {GIB: 0.5, 65536: 0.5})
    found = load(COSTS, mix, GIB)
    assert found.files == pytest.approx(0.5 + 8192)
    assert found.writes == pytest.approx(0.5 * 2 + 8192 * 0.5)


def test_the_bottleneck_is_the_fullest_shared_part_and_where_it_is_full() -> None:
    found = load(COSTS, Mix("small", {65536: 1.0}), 65536 * 1000, Plant(commits=1000, connections=1e9))
    assert found.shares["PostgreSQL commits"] == pytest.approx(0.5)
    assert found.bottleneck == "PostgreSQL commits"
    assert found.full_at == pytest.approx(65536 * 2000)


def test_running_rings_follow_littles_law() -> None:
    found = load(COSTS, LARGE, 10 * GIB, Plant(store_wait=0.5))
    assert found.running == pytest.approx(10 * (1.4336 / 0.7 + 2 * 0.5))


@pytest.mark.parametrize(("ids", "seconds"), [(0, 10e-6), (51, 60e-6), (101, 110e-6), (5000, 1009e-6)])
def test_a_look_costs_what_lies_between_the_measured_lengths(ids: float, seconds: float) -> None:
    assert look_seconds(COSTS.look, ids) == pytest.approx(seconds)


def test_every_ring_may_make_every_other_worker_look() -> None:
    found = load(COSTS, LARGE, GIB, Plant(store_wait=0.0))  # 2 rings/s, 3 workers, 2 ids running: 4 looks
    assert found.herd == pytest.approx(2 * 2 * 2)
    assert herd_cpu(COSTS, found) == pytest.approx(4 * look_seconds(COSTS.look, found.running))


def test_idle_workers_ask_too() -> None:
    idle = replace(COSTS, idle={"redis.all": 9.0, "sql.worker.writes": 0.5})
    busy, without = load(idle, LARGE, GIB), load(COSTS, LARGE, GIB)
    assert busy.redis - without.redis == pytest.approx(3 * 9.0)
    assert busy.writes - without.writes == pytest.approx(3 * 0.5)


def test_the_herd_is_full_where_its_looks_take_all_of_redis() -> None:
    rate = herd_full_at(COSTS, LARGE)
    assert herd_cpu(COSTS, load(COSTS, LARGE, rate * 0.99)) < 0.7 <= herd_cpu(COSTS, load(COSTS, LARGE, rate * 1.01))


def test_waiting_files_are_drained_by_one_core() -> None:
    assert predicted_drain(0.01, files=103, rings=10) == pytest.approx(1.03)


@pytest.mark.parametrize(("rings_of_a_file", "files"), [(2.0, 1), (0.62, 3), (0.01, 32)])
def test_files_behind_one_ring_are_those_measured_within_the_bound(rings_of_a_file: float, files: int) -> None:
    assert group_of(replace(COSTS, small={"redis.zadd": rings_of_a_file})) == files


def test_what_the_model_takes_from_the_service_is_what_the_service_has() -> None:
    plant = Plant()
    hpa = yaml.safe_load((report.ROOT / "deploy/k8s/components/autoscale-gateway/autoscaler.yaml").read_text())["spec"]
    assert plant.read_limit == READ_LIMIT
    assert plant.pool_size == load_settings(environ={}).database.database_pool_size
    assert hpa["maxReplicas"] == report.GATEWAYS
    assert hpa["metrics"][0]["resource"]["target"]["averageUtilization"] == plant.cpu_target * 100


def test_three_shapes_give_back_what_made_them() -> None:
    def reading(shape: object) -> dict[str, float]:
        assert isinstance(shape, type(MANY))
        return {"bytes.x": 7 + 3 * shape.chunks + 0.5 * shape.mib, "sql.x": 7 + shape.chunks}

    solved = solve(reading(MANY), reading(FEW), reading(SHORT))
    parts = ("upload", "chunk", "mib")
    assert [solved[part]["bytes.x"] for part in parts] == pytest.approx([7, 3, 0.5])
    assert [solved[part]["sql.x"] for part in parts] == [7 + SHORT.chunks, 0, 0]  # no statement belongs to a chunk


def test_the_page_shows_what_the_model_says_now() -> None:
    wanted = report.pages(json.loads(report.COSTS.read_text()))
    stale = [path.name for path, text in wanted.items() if path.read_text() != text]
    assert stale == [], "run `python -m bench.scaling.report` and commit the result"


def test_other_costs_make_the_page_stale() -> None:
    measured = json.loads(report.COSTS.read_text())
    assert report.model_table(measured) in report.PAGE.read_text()
    measured["large"]["s3"]["mib"]["cpu.worker"] *= 3
    assert report.model_table(measured) not in report.PAGE.read_text()


def test_the_rates_are_decimal() -> None:
    assert GB * 100 == report.RATES[-1] == 10**11
