# So many packets are lost that a connection does not live: the run gives up after its attempts, and nothing of it stays.
vm web on production

protect web from production to recovery
run web
write web vda 0-20 more
link between production and recovery loses 100 %
run web
expect the last operation failed with connection-lost
link between production and recovery loses 0 %
run web
expect 2 points of web
