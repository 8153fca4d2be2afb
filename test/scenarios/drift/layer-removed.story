# Somebody removes the newest layer: the rescan says so, the repair drops the points that cannot be read, and the next run builds on what is left.
vm web on production

protect web from production to recovery
run web
write web vda 3 newer
run web
somebody removes the layer of vda in P2
rescan web
expect web to be drifted
repair web
run web
expect the last operation succeeded
expect web to be not drifted
