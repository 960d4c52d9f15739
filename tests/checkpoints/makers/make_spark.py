"""Spark's ALS: the folder that `ALSModel.save` writes, Parquet parts of rows in no order. It needs Java."""
import os
import sys

import numpy as np
from common import arguments, clicks, expect, table
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession


def main() -> None:
    kept, scratch = arguments()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
             .config("spark.sql.shuffle.partitions", "2").config("spark.driver.bindAddress", "127.0.0.1")
             .config("spark.local.dir", str(scratch)).getOrCreate())
    rows = clicks()
    triples = [(int(user), int(item), float(label)) for user, item, label in
               zip(rows["user"], rows["item"], rows["label"], strict=True)]
    frame = spark.createDataFrame(triples, ["user", "item", "rating"])
    model = ALS(rank=6, maxIter=5, numUserBlocks=2, numItemBlocks=2, userCol="user", itemCol="item",
                ratingCol="rating", seed=1).fit(frame)
    model.save(str(kept / "als"))
    tables = {}
    for side, factors in ("user", model.userFactors), ("item", model.itemFactors):
        found = factors.collect()
        weight = np.array([row["features"] for row in found], np.float32)
        tables[f"{side}Factors"] = table(side, weight)
        assert {row["id"] for row in found} == {*rows[side].tolist()} # ids without a rating have no row
    expect(kept, {"als": {"package": "Spark", "tables": tables,
                          "others": {"userFactors.id": "other", "itemFactors.id": "other"}}})
    spark.stop()


if __name__ == "__main__": main()
