# There is no room for scratch at the source: the freeze is refused before it begins, because a guest must never wait for it.
vm web on production

protect web from production to recovery
run web
scratch of production has 1 MiB left
run web
expect the last operation failed with scratch-exhausted
scratch of production has 10 GiB left
run web
expect 2 points of web
