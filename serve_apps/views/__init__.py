"""From stored records to answers. Pure: records in, schemas out."""
