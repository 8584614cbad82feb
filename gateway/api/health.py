"""Limits, probes and metrics. Liveness looks at nothing; readiness looks at what a chunk needs, so not at Redis.

A full storage is told and keeps nobody out (ADR 0015): who is not asked any more cannot delete or abort either.
"""

from __future__ import annotations

from fastapi import APIRouter, Response

from common.db.schema import serves_us
from common.digests import DIGEST_SIZES
from common.errors import InsufficientStorage, SluiceError
from gateway.api.documented import problems
from gateway.api.schemas import ChunkLimits, Limits
from gateway.assembly import Services as ServicesValue
from gateway.dependencies import Services
from gateway.surfaces import names

router = APIRouter()

ONLY_TOLD = frozenset({InsufficientStorage.code})


@router.head("/v1/limits", include_in_schema=False)
@router.get("/v1/limits", tags=["limits"], responses=problems(), summary="What this service takes")
async def limits(services: Services) -> Limits:
    set_to = services.limits
    return Limits(
        max_file_size=set_to.max_file_size,
        chunk_size=ChunkLimits(
            min=set_to.chunk_size_min,
            max=set_to.chunk_size_max,
            default="clamp(size / 500, 5 MiB, 20 MiB) rounded up to 1 MiB; more where max_chunks asks for it",
        ),
        max_chunks=set_to.max_chunks,
        max_metadata_bytes=set_to.max_metadata_bytes,
        max_tags=set_to.max_tags,
        allowed_extensions=sorted(set_to.allowed_extensions),
        digest_algorithms=list(DIGEST_SIZES),
        surfaces=names(),
    )


@router.head("/livez", include_in_schema=False)
@router.get("/livez", tags=["probes"], summary="The event loop runs")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", tags=["probes"], summary="Not draining, storage there, database reachable")
async def readyz(services: Services, response: Response) -> dict[str, object]:
    reasons, warnings = await _standing(services)
    answer = _verdict(reasons, response)
    return {**answer, "warnings": warnings} if warnings else answer


@router.head("/startupz", include_in_schema=False)
@router.get("/startupz", tags=["probes"], summary="The database has a schema for this version")
async def startupz(services: Services, response: Response) -> dict[str, object]:
    try:
        served = await serves_us(services.database)
    except SluiceError as error:
        return _verdict([error.code], response)
    return _verdict([] if served else ["schema_not_current"], response)


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", tags=["probes"], summary="Prometheus metrics of this process")
async def metrics(services: Services) -> Response:
    reasons, _ = await _standing(services)
    services.metrics.ready.labels(part="gateway").set(not reasons)
    return Response(services.metrics.render(), media_type=services.metrics.content_type)


async def _standing(services: ServicesValue) -> tuple[list[str], list[str]]:
    """Codes: why nobody should ask this gateway now, and what an operator should know besides."""
    found = ["draining"] if services.draining else []
    found += [_code(error) for error in (await services.probes.failing()).values()]
    return [code for code in found if code not in ONLY_TOLD], [code for code in found if code in ONLY_TOLD]


def _code(error: Exception) -> str:
    if isinstance(error, SluiceError):
        return error.code
    if isinstance(error, TimeoutError):
        return "probe_timeout"
    raise error


def _verdict(reasons: list[str], response: Response) -> dict[str, object]:
    response.headers["Cache-Control"] = "no-store"
    if not reasons:
        return {"status": "ok"}
    response.status_code = 503
    return {"status": "unavailable", "reasons": reasons}
