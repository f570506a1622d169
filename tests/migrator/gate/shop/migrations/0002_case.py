from tests.migrator.gate import bench

Migration = bench.case_at_hand()
