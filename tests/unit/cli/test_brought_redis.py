"""A Redis that was brought along and cannot be used is named."""

from cli.brought_redis import trouble
from common.settings import RedisSettings


async def test_one_that_does_not_answer_is_named_without_its_password(free_port: int) -> None:
    said = await trouble(settings(f"redis://me:hush@127.0.0.1:{free_port}/2"))
    assert said == f"Redis at redis://127.0.0.1:{free_port}/2 (SLUICE_REDIS_URL) does not answer"


async def test_one_that_answers_is_not_the_trouble(redis_url: str) -> None:
    assert await trouble(settings(redis_url)) == ""


async def test_one_that_knows_no_such_user_refuses(redis_url: str) -> None:
    socket = redis_url.removeprefix("unix://").partition("?")[0]
    said = await trouble(settings(f"unix://nobody:hush@{socket}"))
    assert said.endswith("(SLUICE_REDIS_URL) refuses user or password")
    assert "hush" not in said


def settings(url: str) -> RedisSettings:
    return RedisSettings(redis_url=url)
