"""What the kernel tells of mounts, and what an operator is told of them."""

from pathlib import Path

import pytest

from cli.doctor.mounts import Mount, mount_of

TABLE = """\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 28 0:44 / /srv/sluice rw,noatime shared:9 - nfs4 nas:/export rw,vers=4.2,hard,local_lock=none
41 28 0:45 / /srv/my\\040files rw shared:9 - nfs nas:/old rw,vers=3,soft,nolock,local_lock=all
42 40 0:46 / /srv/sluice/scratch rw - tmpfs tmpfs rw,size=1k
43 40 0:47 / /srv/sluice/scratch rw - overlay overlay rw,lowerdir=/a
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/sluice/storage", "nfs4"),
        ("/srv/sluicer", "ext4"),
        ("/srv/my files/x", "nfs"),
        ("/srv/sluice/scratch/x", "overlay"),
    ],
)
def test_a_path_is_on_the_deepest_and_latest_mount_above_it(path: str, kind: str) -> None:
    mount = mount_of(Path(path), TABLE)
    assert mount is not None
    assert mount.kind == kind


def test_where_the_kernel_tells_nothing_nothing_is_known() -> None:
    assert mount_of(Path("/srv"), "nonsense\n- - -\n") is None


def test_nfs_4_with_hard_mounts_and_real_locks_is_no_worry() -> None:
    mount = mount_of(Path("/srv/sluice/x"), TABLE)
    assert mount is not None
    assert mount.worries() == []


def test_old_nfs_without_locks_and_with_soft_mounts_is_three_worries() -> None:
    mount = mount_of(Path("/srv/my files"), TABLE)
    assert mount is not None
    assert [worry.split(":")[0] for worry in mount.worries()] == [
        "its locks do not reach other machines",
        "NFS below version 4 has no reliable locks",
        "a soft mount reports writes as failed that were made",
    ]


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_what_is_gone_later_is_a_worry(kind: str) -> None:
    assert len(Mount(Path("/"), kind, frozenset()).worries()) == 1
