# One packet in five is lost: the run takes longer, and what arrives is exact.
vm web on production

protect web from production to recovery
link between production and recovery loses 20 %
write web vda 0-120 bulk
run web
expect the last operation succeeded
