# The point is sealed and the answer is lost: asked again, the store answers with the point that is there; it is not made twice.
vm web on production

protect web from production to recovery
fault at recovery.store.sealPartial: fail-after
run web
expect the last operation succeeded
expect 1 point of web
