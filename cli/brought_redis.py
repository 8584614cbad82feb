"""The Redis an operator brought along by SLUICE_REDIS_URL: why a start with it may have failed."""

from redis.exceptions import AuthenticationError, RedisError

from common.names import address_of
from common.redis import open_redis
from common.settings import RedisSettings


async def trouble(settings: RedisSettings) -> str:
    """Say, without its password, that this Redis cannot be used; nothing if it answers."""
    redis = open_redis(settings)
    try:
        await redis.ping()
    except (RedisError, OSError, TimeoutError) as error:
        # While connecting, redis-py wraps the refusal in a ConnectionError.
        refused = isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError)
        problem = "refuses user or password" if refused else "does not answer"
    else:
        return ""
    finally:
        await redis.aclose()
    return f"Redis at {address_of(settings.redis_url)} (SLUICE_REDIS_URL) {problem}"
