"""A span collector that answers and forgets: tracing's cost to the mesh is measured, a collector's own is not.

Run as a process of its own: `python -m bench.load.spans`; the first line of output is the port.
"""

import asyncio

import grpc

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Forgetful(grpc.GenericRpcHandler):
    """Takes every export without parsing it."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Answer exports and nothing else."""
        if handler_call_details.method != _EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(_forget)


async def _forget(request: bytes, context: object) -> bytes:
    # An empty ExportTraceServiceResponse: everything was taken.
    return b""


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((Forgetful(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
