"""Examples: records as people write them, one list of JSON objects per version, valid by the contract.

They are fixtures too: whoever needs a realistic record of a version takes one of these.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ValidationError

from schemas.avro import ContractError
from schemas.manifest import CONTRACTS, Dataset
from schemas.models import model_of


def load_examples(dataset: Dataset, version: int, folder: Path = CONTRACTS) -> list[BaseModel]:
    """The examples of one version as models (`schemas.models`); `model_dump()` is what the encoder takes.

    Raises ContractError naming the file, the record and the field when they are missing or break the contract.
    """
    path = folder / f"{dataset.name}.v{version}.json"
    if not path.exists():
        raise ContractError(f"{path.name}: no examples; add a list of at least one record of v{version}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ContractError(f"{path.name}: not JSON ({error}); mend the file") from error
    if not isinstance(raw, list) or not raw:
        raise ContractError(f"{path.name}: examples are a list of at least one record")
    model = model_of(dataset.versions[version])
    records = []
    for number, values in enumerate(raw, start=1):
        try:
            records.append(model.model_validate_json(json.dumps(values)))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "record"
            raise ContractError(
                f"{path.name}: record {number}: {where}: {first['msg']}; mend the example or the contract"
            ) from error
    return records
