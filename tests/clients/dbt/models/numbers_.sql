SELECT number AS n FROM numbers(10)
