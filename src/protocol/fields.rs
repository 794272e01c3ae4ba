//! Reading the fields of a JSON object with one clear sentence for each thing that is wrong.
